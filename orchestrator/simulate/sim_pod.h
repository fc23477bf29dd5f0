#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/engine_model/engine.h"
#include "core/pod.h"
#include "orchestrator/simulate/simulation.h"

namespace baton::orchestrator::simulate {

// One simulated pod: an engine that lives, dies and is started again, and what is known of it from
// outside. Owned by the simulation.
class SimPod : engine_model::BlockEvents {
 public:
  // Told of blocks as KV events would tell.
  struct Cache {
    std::function<void(std::uint32_t pod, std::span<const std::uint64_t> blocks)> stored;
    std::function<void(std::uint32_t pod, std::span<const std::uint64_t> blocks)> removed;
  };
  SimPod(const SimulatedPod& spec, std::uint32_t index, Cache cache);

  [[nodiscard]] bool alive() const { return engine_ != nullptr; }
  [[nodiscard]] engine_model::Engine& engine() { return *engine_; }  // alive only
  void die();
  void start();

  // Lets the engine do what is due; its events are added to `out`. When to come again:
  // TimePoint::max() for never unless something is asked of the engine.
  TimePoint advance(TimePoint now, std::vector<engine_model::EngineEvent>& out);

  // As the pod's metrics have it now.
  [[nodiscard]] std::shared_ptr<const PodEntry> observe(TimePoint now);
  void count_request() { ++figures_.requests; }
  [[nodiscard]] const SimulatedPod& spec() const { return spec_; }
  [[nodiscard]] SystemFigures::PodFigures figures() const { return figures_; }
  [[nodiscard]] std::int64_t steps() const {
    return steps_ + (alive() ? engine_->counts().steps : 0);
  }
  [[nodiscard]] std::int64_t preemptions() const {
    return preemptions_ + (alive() ? engine_->counts().preemptions : 0);
  }

 private:
  void stored(const engine_model::BlocksStored& blocks) override;
  void removed(std::span<const std::uint64_t> hashes) override;
  void cleared() override {}

  SimulatedPod spec_;
  std::uint32_t index_;
  Cache cache_;
  std::unique_ptr<engine_model::Engine> engine_;
  std::uint64_t epoch_ = 0;
  SystemFigures::PodFigures figures_;
  std::int64_t steps_ = 0;  // of engines that died
  std::int64_t preemptions_ = 0;
};

}  // namespace baton::orchestrator::simulate
