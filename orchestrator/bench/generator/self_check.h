#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::orchestrator::bench {

// How long and how hard the generator checks itself. The defaults take about a minute.
struct SelfCheckOptions {
  std::uint64_t seed = 1;
  Duration capacity_time = std::chrono::seconds(3);  // each of two
  int sink_concurrency = 32;
  int stream_concurrency = 4000;
  std::optional<double> capacity;                 // streams a second; nullopt: as measured
  std::vector<double> shares = {0.01, 0.5, 0.9};  // of the capacity
  Duration truth_time = std::chrono::seconds(5);  // each run, a tenth of it for warming up
  int truth_runs = 3;                             // at each share
  std::size_t streams = 10000;                    // open at once; 0: leaves that part out
  double tokens_per_s = 10;                       // of each
  Duration ramp_time = std::chrono::seconds(5);
  Duration hold_time = std::chrono::seconds(10);
  bool child_process = true;  // the server of the many streams in a process of its own
};

// What the generator can do: short requests to a server that answers at once, and short streams.
struct CapacityCheck {
  std::size_t requests = 0;
  std::size_t failed = 0;
  double requests_per_s = 0;       // by the clock, with the server on another core
  double requests_per_core_s = 0;  // by the generator's own CPU time
  double cpu_us_per_request = 0;
};

// One metric, as the generator measured it and as the server knows it.
struct MetricCheck {
  double measured_mean_ms = 0;
  double truth_mean_ms = 0;
  double measured_p99_ms = 0;
  double truth_p99_ms = 0;
  // The farther of the two from its truth, as a multiple of what is allowed: 1 % of it or 1 ms.
  [[nodiscard]] double off() const;
};

// Streams in an open loop.
struct OpenLoopCapacity {
  // The highest rate at which a run is sound (soundness.h): sent on time, from nine tenths of a
  // core.
  double streams_per_s = 0;
  double cpu_share = 0;  // of the generator's core at that rate
};

// Of several runs at a share of the capacity, the middle one by worst(), against the server's log.
struct TruthCheck {
  double share = 0;
  double rate = 0;  // streams a second, Poisson
  std::size_t requests = 0;
  std::size_t unmatched = 0;  // not completed, or not in the server's log
  MetricCheck ttft;
  MetricCheck tpot;
  MetricCheck itl;
  MetricCheck e2el;
  // Within the objectives, which lie between the two times that each of TTFT and TPOT can have.
  std::size_t good = 0;
  std::size_t good_in_truth = 0;
  std::size_t judged_otherwise = 0;  // requests that only one of the two calls good
  double send_lag_p99_ms = 0;
  // The farthest metric; infinite where a request is missing or was judged otherwise.
  [[nodiscard]] double worst() const;
};

// Many streams open at once. Figures of the time in which all of them were.
struct StreamsCheck {
  std::size_t streams = 0;
  std::size_t completed = 0;
  double seconds = 0;
  double events_per_s = 0;
  double cpu_us_per_event = 0;
  double cpu_share = 0;
  double itl_mean_ms = 0;
  double itl_p99_ms = 0;
  double loop_lag_max_ms = 0;  // of the whole run
};

struct SelfCheckResult {
  CapacityCheck short_requests;  // no streams
  CapacityCheck short_streams;   // four tokens each, 5 to 15 ms apart
  OpenLoopCapacity capacity;     // of such streams
  std::vector<TruthCheck> truth;
  std::optional<StreamsCheck> streams;
};

// Measures the load generator against servers of its own, on this thread. Errors: what keeps a
// server from starting.
[[nodiscard]] Result<SelfCheckResult> self_check(const SelfCheckOptions& options);

}  // namespace baton::orchestrator::bench
