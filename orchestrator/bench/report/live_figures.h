#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"
#include "orchestrator/bench/generator/runner.h"

namespace baton::orchestrator::bench {

struct MedianAndTail {
  double median_ms = 0;
  double p99_ms = 0;
};

// What a live view shows: counts since the start, rates and latencies of the last seconds.
struct LiveFigures {
  Duration now{};
  std::size_t offered = 0;
  std::size_t total = 0;  // 0: unknown
  std::size_t completed = 0;
  std::size_t failed = 0;
  std::size_t running = 0;
  double offered_per_s = 0;
  double completed_per_s = 0;
  double tokens_per_s = 0;
  std::optional<MedianAndTail> ttft;  // nullopt: none in the last seconds
  std::optional<MedianAndTail> tpot;
  // Of the last reports that had any, oldest first.
  std::deque<double> ttft_trend;
  std::deque<double> tpot_trend;
  std::deque<double> tokens_trend;
};

// Turns the reports of a run into figures over the last seconds. A value.
class LiveHistory {
 public:
  static constexpr Duration kWindow = std::chrono::seconds(5);
  static constexpr std::size_t kTrend = 24;

  void add(const RunProgress& progress);
  [[nodiscard]] LiveFigures figures() const;

 private:
  std::deque<RunProgress> reports_;  // of the window
  RunProgress before_;               // the last one before the window
  std::deque<double> ttft_trend_;
  std::deque<double> tpot_trend_;
  std::deque<double> tokens_trend_;
};

// How far the run is, as far as can be known. `planned`: until the last request is sent.
struct LiveAdvance {
  double share = 0;
  std::optional<Duration> left;  // nullopt: all is sent, or the speed is unknown yet
  bool draining = false;         // all is sent, some still run
};
// nullopt: neither a plan nor a total is known.
[[nodiscard]] std::optional<LiveAdvance> advance_of(const LiveFigures& figures,
                                                    std::optional<Duration> planned);

}  // namespace baton::orchestrator::bench
