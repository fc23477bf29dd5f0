#include "core/error.h"

namespace baton {

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::kRouter: return "router";
    case Stage::kPrefill: return "prefill";
    case Stage::kHandoff: return "handoff";
    case Stage::kDecode: return "decode";
    case Stage::kConfig: return "config";
  }
  return "router";
}

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kTooLarge: return "too_large";
    case ErrorCode::kRateLimited: return "rate_limited";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kInternal: return "internal";
    case ErrorCode::kUpstream: return "upstream";
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kStale: return "stale";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kUnsupported: return "unsupported";
  }
  return "internal";
}

unsigned http_status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 400;
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kTooLarge: return 413;
    case ErrorCode::kRateLimited: return 429;
    case ErrorCode::kCancelled: return 499;
    case ErrorCode::kInternal: return 500;
    case ErrorCode::kUpstream:
    case ErrorCode::kStale:
    case ErrorCode::kCorrupt: return 502;
    case ErrorCode::kUnavailable: return 503;
    case ErrorCode::kTimeout: return 504;
    case ErrorCode::kUnsupported: return 501;
  }
  return 500;
}

}  // namespace baton
