#include "orchestrator/bench/generator/soundness.h"

#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/bench/generator/nearest_rank.h"

namespace baton::orchestrator::bench {
namespace {

constexpr double kLeastSendLagMs = 1;         // of the p99; what a timer of a busy system does
constexpr double kSendLagShareOfTtft = 0.01;  // of the median TTFT
constexpr double kLeastLoopLagMs = 50;        // of the longest; one preemption on a shared machine
constexpr double kLoopLagShareOfTtft = 0.1;   // it falsifies no TTFT by more
constexpr double kMostCpuShare = 0.9;         // beyond it, queueing in the generator grows steeply

}  // namespace

double cpu_share(const GeneratorStats& generator) {
  return generator.wall_seconds > 0 ? generator.cpu_seconds / generator.wall_seconds : 0;
}

double send_lag_p99_ms(const GeneratorStats& generator) {
  std::vector<float> lag = generator.send_lag_ms;
  return p99(lag);
}

std::vector<std::string> unsound_reasons(const GeneratorStats& generator, double median_ttft_ms,
                                         bool holds_back) {
  std::vector<std::string> reasons;
  const double lag = send_lag_p99_ms(generator);
  const double lag_limit = std::max(kLeastSendLagMs, kSendLagShareOfTtft * median_ttft_ms);
  if (lag > lag_limit && !holds_back) {
    reasons.push_back(fmt::format(
        "1 % of the requests were sent {:.2f} ms or more after they were due (limit {:.2f} ms)",
        lag, lag_limit));
  }
  const double stall_limit = std::max(kLeastLoopLagMs, kLoopLagShareOfTtft * median_ttft_ms);
  if (generator.loop_lag_max_ms > stall_limit) {
    reasons.push_back(fmt::format("the generator stood still for {:.0f} ms (limit {:.0f} ms)",
                                  generator.loop_lag_max_ms, stall_limit));
  }
  if (const double share = cpu_share(generator); share > kMostCpuShare) {
    reasons.push_back(fmt::format("the generator used {:.0f} % of its core (limit {:.0f} %)",
                                  share * 100, kMostCpuShare * 100));
  }
  return reasons;
}

}  // namespace baton::orchestrator::bench
