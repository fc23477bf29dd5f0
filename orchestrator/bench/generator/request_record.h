#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"

namespace baton::orchestrator::bench {

// How one request ended. Whatever the target did not complete counts against goodput; kLeft and
// kUnfinished are the harness's own doing and count for nothing.
enum class Outcome : std::uint8_t {
  kCompleted,    // 200, at least one token, and a proper end
  kRejected,     // 429 or 503: the server said no
  kHttpError,    // another status
  kUnreachable,  // connection refused, reset or closed before an answer
  kTimeout,      // nothing came within the limit
  kNotOpenAi,    // 200, but HTML, no JSON, no event stream
  kStreamError,  // an error event ended the stream
  kCutStream,    // the stream ended without [DONE]
  kNoTokens,     // a proper end, and not one token before it
  kLeft,         // the harness cancelled it, as the workload asked
  kUnfinished,   // the run was stopped before it ended
};
inline constexpr int kOutcomes = 11;
[[nodiscard]] const char* name_of(Outcome outcome);  // "completed", "rejected", "http_error", …

// Where a TTFT went, as a Baton router tells it (x-baton-timing); absent for other servers.
struct StageTimes {
  double plan_ms = 0;
  double prefill_queue_ms = 0;
  double prefill_ms = 0;  // on the prefill pod, or on the decode pod where nothing was split
  double decode_queue_ms = 0;
  double exposed_transfer_ms = 0;
  double first_step_ms = 0;
  std::int64_t kv_bytes = 0;
  int retries = 0;
  std::string transport;
  std::string prefill_pod;  // empty: decode-only
  std::string decode_pod;
};

// One offered request, as the generator saw it. All times are since the run's start; a negative one
// did not happen.
struct RequestRecord {
  static constexpr Duration kNever{-1};

  std::size_t index = 0;          // of the workload
  Duration scheduled = kNever;    // when it was to be sent; in a closed loop, when it was sent
  Duration sent = kNever;         // just before its first byte went out
  Duration first_event = kNever;  // first event with choices, even if it holds no token (role-only)
  Duration first_token = kNever;  // first event with a non-empty piece of the answer
  Duration last_token = kNever;   // last such event; of an answer that is no stream: its end
  Duration ended = kNever;        // [DONE], or whatever ended it
  std::vector<std::uint32_t> gaps_us;  // between events with tokens, one fewer than such events
  int token_events = 0;

  int prompt_tokens = 0;  // as the server's usage says; else as the workload built it
  int output_tokens = 0;  // as the server's usage says; else events with tokens
  int cached_tokens = 0;
  bool usage_reported = false;
  int usage_reports = 0;  // more than 1: the server said it more than once (the last one counts)
  int asked_tokens = 0;   // max_tokens
  int built_tokens = 0;   // prompt tokens that the workload meant; 0: unknown

  Outcome outcome = Outcome::kUnfinished;
  unsigned status = 0;  // HTTP; 0: no answer
  std::string reason;   // of a failure, short and countable: "429 queue_full", "connection refused"

  std::string model;  // as asked
  int priority = 0;
  int session = -1;  // of a multi-turn workload
  bool streamed = true;
  std::string request_id;  // x-request-id of the answer
  std::optional<StageTimes> stages;
  std::string text;  // only where asked for (--save-detailed)
  std::string run;   // of several: which one

  [[nodiscard]] bool completed() const { return outcome == Outcome::kCompleted; }
};

}  // namespace baton::orchestrator::bench
