#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/pod.h"
#include "orchestrator/simulate/sim_pod.h"

namespace baton::orchestrator::simulate {

// All pods of a simulation: which of them have something to do, and what is known of them. Owned by
// the simulation; a pod is known by its place in the list.
class SimPods {
 public:
  SimPods(const std::vector<SimulatedPod>& specs, const SimPod::Cache& cache);

  [[nodiscard]] SimPod& operator[](std::uint64_t pod) { return *pods_[pod]; }

  // The pod has something to do now.
  void touch(std::uint32_t pod);
  [[nodiscard]] bool any_touched() const { return !touched_.empty(); }
  // Those that have, in the order in which they got it; each is to be advanced.
  [[nodiscard]] std::vector<std::uint32_t> take_touched();
  // Lets the pod do what is due; what it says is added to `out`. When it is to be touched again;
  // nothing: not for its own sake, or that was told before.
  std::optional<TimePoint> advance(std::uint32_t pod, TimePoint now,
                                   std::vector<engine_model::EngineEvent>& out);

  // The pods as their metrics have them now.
  [[nodiscard]] std::shared_ptr<const Snapshot> observe(TimePoint now);
  // Those that died between the last two calls of observe().
  [[nodiscard]] const std::vector<std::uint32_t>& seen_to_die() const { return seen_to_die_; }

  void add_figures(SystemFigures& figures) const;

 private:
  std::vector<std::unique_ptr<SimPod>> pods_;
  std::vector<TimePoint> woken_at_;  // when each pod's step ends
  std::vector<bool> is_touched_;
  std::vector<std::uint32_t> touched_;
  std::vector<bool> was_alive_;  // at the last observe()
  std::vector<std::uint32_t> seen_to_die_;
  std::uint64_t version_ = 0;
};

}  // namespace baton::orchestrator::simulate
