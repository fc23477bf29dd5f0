#include "orchestrator/bench/generator/request_record.h"

namespace baton::orchestrator::bench {

const char* name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCompleted: return "completed";
    case Outcome::kRejected: return "rejected";
    case Outcome::kHttpError: return "http_error";
    case Outcome::kUnreachable: return "unreachable";
    case Outcome::kTimeout: return "timeout";
    case Outcome::kNotOpenAi: return "not_openai";
    case Outcome::kStreamError: return "stream_error";
    case Outcome::kCutStream: return "cut_stream";
    case Outcome::kNoTokens: return "no_tokens";
    case Outcome::kLeft: return "left";
    case Outcome::kUnfinished: return "unfinished";
  }
  return "unknown";
}

}  // namespace baton::orchestrator::bench
