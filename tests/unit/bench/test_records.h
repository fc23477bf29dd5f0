#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
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

}  // namespace baton::orchestrator::bench
