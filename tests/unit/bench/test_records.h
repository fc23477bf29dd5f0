#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {

inline Duration ms(double count) {
  return std::chrono::microseconds(static_cast<std::int64_t>(std::llround(count * 1e3)));
}

// A stream that completed: due and sent, its first token so long after the send, then gaps.
struct Stream {
  std::size_t index = 0;
  double scheduled_ms = 0;
  double lag_ms = 0;
  double ttft_ms = 100;
  std::vector<double> gaps_ms{};
  int prompt_tokens = 10;
};

inline RequestRecord completed(const Stream& stream) {
  RequestRecord record;
  record.index = stream.index;
  record.scheduled = ms(stream.scheduled_ms);
  record.sent = record.scheduled + ms(stream.lag_ms);
  record.first_event = record.first_token = record.last_token = record.sent + ms(stream.ttft_ms);
  for (const double gap : stream.gaps_ms) {
    record.gaps_us.push_back(static_cast<std::uint32_t>(gap * 1e3));
    record.last_token += ms(gap);
  }
  record.ended = record.last_token;
  record.token_events = record.output_tokens = static_cast<int>(stream.gaps_ms.size()) + 1;
  record.prompt_tokens = stream.prompt_tokens;
  record.usage_reported = true;
  record.usage_reports = 1;
  record.outcome = Outcome::kCompleted;
  record.status = 200;
  record.model = "tiny";
  return record;
}

inline RequestRecord failed(std::size_t index, double at_ms, Outcome outcome, unsigned status,
                            std::string reason) {
  RequestRecord record;
  record.index = index;
  record.scheduled = record.sent = ms(at_ms);
  record.ended = record.sent + ms(1);
  record.outcome = outcome;
  record.status = status;
  record.reason = std::move(reason);
  record.model = "tiny";
  return record;
}

inline RunResult run_of(std::vector<RequestRecord> records) {
  RunResult run;
  run.records = std::move(records);
  run.generator = {
      .send_lag_ms = {0.1F, 0.2F}, .loop_lag_max_ms = 2, .cpu_seconds = 0.5, .wall_seconds = 5};
  run.started_at = "2025-01-31T08:09:10Z";
  return run;
}

inline SummaryOptions options_of(Slo slo = {}) {
  SummaryOptions options;
  options.slo = slo;
  options.model = "tiny";
  options.tokenizer = "server";
  options.request_rate = 10;
  options.burstiness = 1;
  options.version = "1.2.3";
  options.command = "baton bench http://127.0.0.1:1";
  options.target = "http://127.0.0.1:1/v1";
  options.workload = "random, 10 tokens in, 3 out";
  options.prompt_source = "server /tokenize";
  options.seed = 7;
  return options;
}

// Two streams and a refusal over two seconds:
//   0: due 0, sent 0, TTFT 100, gaps 10 20, E2EL 130
//   1: due 1000, sent 1005, TTFT 300, gaps 30 30 30, E2EL 390, to 1395
//   2: 429 at 1999, to 2000
inline std::vector<RequestRecord> three_requests() {
  return {completed({.index = 0, .gaps_ms = {10, 20}}),
          completed({.index = 1,
                     .scheduled_ms = 1000,
                     .lag_ms = 5,
                     .ttft_ms = 300,
                     .gaps_ms = {30, 30, 30},
                     .prompt_tokens = 20}),
          failed(2, 1999, Outcome::kRejected, 429, "429 queue_full")};
}

inline Json summary_of(std::vector<RequestRecord> records,
                       const SummaryOptions& options = options_of()) {
  return summarize(run_of(std::move(records)), options);
}

inline std::vector<std::string> keys_of(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

// Split by a router, and served by one pod.
inline RequestRecord split_request(std::size_t index) {
  RequestRecord record = completed({.index = index, .ttft_ms = 100, .prompt_tokens = 40});
  record.cached_tokens = 10;
  record.stages = StageTimes{.plan_ms = 1,
                             .prefill_queue_ms = 9,
                             .prefill_ms = 60,
                             .decode_queue_ms = 50,
                             .exposed_transfer_ms = 10,
                             .first_step_ms = 5,
                             .kv_bytes = 1000,
                             .retries = 1,
                             .transport = "shm",
                             .prefill_pod = "p0",
                             .decode_pod = "d0"};
  return record;
}

inline RequestRecord whole_request(std::size_t index) {
  RequestRecord record = completed({.index = index, .ttft_ms = 80, .prompt_tokens = 60});
  StageTimes& stages = record.stages.emplace();
  stages.plan_ms = 1;
  stages.prefill_ms = 40;
  stages.decode_queue_ms = 20;
  stages.first_step_ms = 4;
  stages.decode_pod = "d1";
  return record;
}

}  // namespace baton::orchestrator::bench
