#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace baton {

// Where in the life of a request something failed. 5xx answers name it.
enum class Stage : std::uint8_t { kRouter, kPrefill, kHandoff, kDecode, kConfig };

// What failed, in terms that decide the HTTP status and whether another pod may be tried.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,  // 400: the client's request is wrong; `param` names the field
  kNotFound,         // 404: no such model, pod, lease or path
  kTooLarge,         // 413: body or prompt over a limit
  kRateLimited,      // 429: admission refused; retry later
  kCancelled,        // 499: the client left, or the caller gave up
  kInternal,         // 500: a defect of ours
  kUpstream,         // 502: a pod answered something that is no answer
  kUnavailable,      // 503: no pod can take it now
  kTimeout,          // 504: a deadline passed
  kStale,            // a block, lease or epoch of another generation was named
  kCorrupt,          // a checksum did not match
  kUnsupported,      // the peer, transport or engine cannot do this
};

// An expected failure, passed as a value. The function that decides it logs it; callers pass it on.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  Stage stage = Stage::kRouter;
  std::string message;     // what, where and how to fix it; never a prompt, key or completion
  bool retryable = false;  // true where another pod, or the same one later, may succeed
  std::string param{};     // the request field or configuration key at fault, if any
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] std::string_view name_of(Stage stage);
[[nodiscard]] std::string_view name_of(ErrorCode code);

// HTTP status by which a client sees this code (499 for kCancelled, as nginx has it).
[[nodiscard]] unsigned http_status_of(ErrorCode code);

[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, Stage stage, std::string message,
                                                 bool retryable = false, std::string param = {}) {
  return std::unexpected(Error{code, stage, std::move(message), retryable, std::move(param)});
}

}  // namespace baton
