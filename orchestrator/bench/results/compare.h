#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {

// What of one request is compared with the same request on the other side.
struct RequestTimes {
  std::size_t index = 0;  // of the workload
  std::optional<double> ttft_ms;
  std::optional<double> tpot_ms;
  std::optional<double> e2el_ms;
};
// Of the completed requests of the window, by index.
[[nodiscard]] std::vector<RequestTimes> request_times(const std::vector<RequestRecord>& records,
                                                      const Window& window);

struct ComparedRun {
  Json summary;                     // of summarize()
  std::vector<RequestTimes> times;  // of the same run
};

struct ComparedSide {
  std::string name;
  std::string target;
  std::vector<ComparedRun> runs;  // one a round; round i of each side ran the same workload in turn
};

struct CompareOptions {
  std::uint64_t seed = 0;  // of the bootstrap
  std::string version{};
};

// A comparison's file: each side against the first one, as ratios over pairs. Pairs are rounds:
// the geometric mean of their ratios with Student's 95 % interval. With a single round there is no
// such interval; then the median ratio over requests that both sides completed stands for a
// latency, with a bootstrap interval, and rates have a ratio alone. A rate that was 0 in some round
// is compared by its means. `basis` of a ratio says which: "rounds", "requests", "one round" or
// "means of rounds".
[[nodiscard]] Json compare(const std::vector<ComparedSide>& sides, const CompareOptions& options);

[[nodiscard]] std::string render_compare(const Json& comparison, bool color = false);

}  // namespace baton::orchestrator::bench
