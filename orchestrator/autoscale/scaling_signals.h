#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "core/picking/busy_time.h"
#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::orchestrator {

// What the signals of a pool are measured against.
struct SignalScale {
  std::optional<Duration> ttft;  // the pool's SLOs
  std::optional<Duration> tpot;
  Duration fresh_for = std::chrono::seconds(3);     // scraped figures count whole up to this age,
  Duration faded_after = std::chrono::seconds(10);  // and not at all from this one on
};

// What an autoscaler is told of one role of a pool. Always finite, whatever pods claim.
// docs/autoscaling.md says what each means and how to scale on it.
struct RoleSignals {
  int ready_pods = 0;
  double queue_seconds = 0.0;             // mean of the ready pods
  double uncached_tokens_inflight = 0.0;  // sum
  double prefill_utilisation = 0.0;       // 0 to 1
  double kv_usage = 0.0;                  // mean, 0 to 1
  double running = 0.0;                   // sum
  double tpot_headroom = 1.0;             // of the worst ready pod, -1 to 1
  double saturation = 0.0;                // 0 idle, 1 full, more: overloaded
};

// Means over a pool's ready pods as they tell them, for the metrics of the Gateway API Inference
// Extension.
struct PoolAverages {
  int ready_pods = 0;
  double kv_usage = 0.0;
  double queued = 0.0;
  double running = 0.0;
};

// Turns what is known of one pool's pods into scaling signals. Owned by the exporter, on the
// control thread; borrows the loads. Remembers of each pod what a figure has to be compared with:
// what was reserved when it was scraped, and how long it had been busy some seconds ago.
class ScalingSignals {
 public:
  explicit ScalingSignals(LoadTable& loads) : loads_(loads) {}

  // To be called with each snapshot, and before signals are read.
  void observe(const Snapshot& snapshot, TimePoint now);

  // `role` is kPrefill or kDecode; a pod of role `both` counts in both. `waiting`: requests that no
  // pod of the pool takes now.
  [[nodiscard]] RoleSignals of(Role role, const Snapshot& snapshot, const LatencyModel& model,
                               const SignalScale& scale, int waiting, TimePoint now) const;
  [[nodiscard]] PoolAverages averages(const Snapshot& snapshot, const SignalScale& scale,
                                      TimePoint now) const;

  // Busy time is averaged over the last one to two of these, however often it is asked for.
  static constexpr Duration kBusyWindow = std::chrono::seconds(10);
  // Waiting for a prompt's turn that makes a pool without a TTFT SLO full.
  static constexpr Duration kDefaultTtft = std::chrono::seconds(1);

 private:
  struct Mark {
    TimePoint at;
    BusyTime::Reading busy = 0;
  };
  struct Memory {
    std::optional<TimePoint> observed_at;  // of the scrape that `reserved_then` belongs to
    std::int64_t reserved_then = 0;
    Mark older, newer;
  };
  struct View;
  class Views;

  [[nodiscard]] View view_of(const PodEntry& entry, const SignalScale& scale, TimePoint now) const;
  [[nodiscard]] Views views_of(const Snapshot& snapshot, bool (*has_role)(Role),
                               const SignalScale& scale, TimePoint now) const;

  LoadTable& loads_;
  std::map<std::uint32_t, Memory> memories_;  // by PodEntry::index
};

}  // namespace baton::orchestrator
