#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "orchestrator/bench/results/measured.h"
#include "orchestrator/bench/results/summary.h"

// The pieces that summarize() puts together, one function a section of `baton`.
namespace baton::orchestrator::bench {

// A string of somebody else's; bytes that are no UTF-8 become U+FFFD, since JSON has no others.
[[nodiscard]] Json text_json(std::string_view text);

// Of completed requests: {mean, median, p90, p99}; null where the sample is empty.
[[nodiscard]] Json figures_json(const Sample& sample);

// What one word in the file means, for whoever reads the numbers.
[[nodiscard]] Json definitions_json();

// How many requests kept the SLO, judged from their schedule.
struct Goodput {
  std::int64_t offered = 0;
  std::int64_t good = 0;
  std::int64_t missed_ttft = 0;  // of completed requests; one may miss several bounds
  std::int64_t missed_tpot = 0;
  std::int64_t missed_e2el = 0;
  std::int64_t failed = 0;
};
[[nodiscard]] Goodput judge(const Measured& measured, const Slo& slo);
[[nodiscard]] Json goodput_json(const Goodput& goodput, const Slo& slo, double per_second);
[[nodiscard]] Json slo_json(const Slo& slo);

struct Peaks {
  double output_tokens_per_s = 0;  // in the fullest second since the first send
  std::int64_t concurrent = 0;
};
[[nodiscard]] Peaks peaks_of(const Measured& measured);

// Where the TTFT went. nullopt: no answer told.
[[nodiscard]] std::optional<Json> split_json(const Measured& measured);
// --save-detailed beside vLLM's arrays and in their order, times in seconds too: what was cached,
// which pods served, and how long they took. Empty or 0 where that was not told.
[[nodiscard]] Json requests_json(const Measured& measured);
// What the target did inside the window, whenever the request was sent.
[[nodiscard]] Json steady_json(const std::vector<RequestRecord>& records, const Window& window);
// Second by second since the run's start, the warm-up included.
[[nodiscard]] Json timeline_json(const std::vector<RequestRecord>& records);

[[nodiscard]] Json baton_json(const RunResult& run, const Measured& measured,
                              const SummaryOptions& options, const Goodput& goodput);

}  // namespace baton::orchestrator::bench
