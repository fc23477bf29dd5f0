#include "orchestrator/simulate/sim_pods.h"

#include <algorithm>
#include <utility>

namespace baton::orchestrator::simulate {

SimPods::SimPods(const std::vector<SimulatedPod>& specs, const SimPod::Cache& cache)
    : woken_at_(specs.size(), TimePoint::min()),
      is_touched_(specs.size(), false),
      was_alive_(specs.size(), true) {
  for (const SimulatedPod& spec : specs) {
    const auto index = static_cast<std::uint32_t>(pods_.size());
    pods_.push_back(std::make_unique<SimPod>(spec, index, cache));
  }
}

void SimPods::touch(std::uint32_t pod) {
  if (is_touched_[pod]) return;
  is_touched_[pod] = true;
  touched_.push_back(pod);
}

std::vector<std::uint32_t> SimPods::take_touched() { return std::exchange(touched_, {}); }

std::optional<TimePoint> SimPods::advance(std::uint32_t pod, TimePoint now,
                                          std::vector<engine_model::EngineEvent>& out) {
  is_touched_[pod] = false;
  if (!pods_[pod]->alive()) return std::nullopt;
  const TimePoint next = pods_[pod]->advance(now, out);
  if (next == TimePoint::max() || next == woken_at_[pod]) return std::nullopt;
  woken_at_[pod] = next;
  return std::max(next, now);
}

std::shared_ptr<const Snapshot> SimPods::observe(TimePoint now) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = ++version_;
  snapshot->pool = "simulated";
  seen_to_die_.clear();
  for (std::uint32_t i = 0; i < pods_.size(); ++i) {
    snapshot->pods.push_back(pods_[i]->observe(now));
    if (was_alive_[i] && !pods_[i]->alive()) seen_to_die_.push_back(i);
    was_alive_[i] = pods_[i]->alive();
  }
  return snapshot;
}

void SimPods::add_figures(SystemFigures& figures) const {
  for (const auto& pod : pods_) {
    figures.pods.push_back(pod->figures());
    figures.preemptions += pod->preemptions();
    figures.engine_steps += pod->steps();
  }
}

}  // namespace baton::orchestrator::simulate
