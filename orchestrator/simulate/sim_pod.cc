#include "orchestrator/simulate/sim_pod.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace baton::orchestrator::simulate {

SimPod::SimPod(const SimulatedPod& spec, std::uint32_t index, Cache cache)
    : spec_(spec), index_(index), cache_(std::move(cache)) {
  // A pod that only computes prompts gives its one token with the pass that ends the prompt.
  if (spec_.role == Role::kPrefill) spec_.profile.engine.timing.first_token_takes_step = false;
  figures_.name = spec_.name;
  figures_.role = spec_.role;
  start();
}

void SimPod::start() {
  engine_model::BlockEvents* sink = cache_.stored ? this : nullptr;
  engine_ = std::make_unique<engine_model::Engine>(spec_.profile.engine, sink);
  ++epoch_;
}

void SimPod::die() {
  steps_ += engine_->counts().steps;
  preemptions_ += engine_->counts().preemptions;
  engine_.reset();
}

TimePoint SimPod::advance(TimePoint now, std::vector<engine_model::EngineEvent>& out) {
  const std::int64_t steps = engine_->counts().steps;
  engine_->advance(now, out);
  const TimePoint next = engine_->next_event_time();
  if (engine_->counts().steps > steps) {  // a step began
    figures_.busy_s += to_seconds(next - now);
    const double usage =
        static_cast<double>(engine_->pool().used_blocks()) / engine_->pool().size();
    figures_.max_kv_usage = std::max(figures_.max_kv_usage, usage);
  }
  return next;
}

std::shared_ptr<const PodEntry> SimPod::observe(TimePoint now) {
  auto entry = std::make_shared<PodEntry>();
  entry->index = index_;
  entry->pod.name = spec_.name;
  entry->pod.role = spec_.role;
  entry->pod.max_running = std::numeric_limits<int>::max();
  entry->pod.facts.engine_id = spec_.name;
  entry->pod.facts.epoch = epoch_;
  entry->pod.facts.block_tokens = spec_.profile.engine.block_tokens;
  entry->pod.facts.bytes_per_token = spec_.profile.bytes_per_token;
  PodState& state = entry->state;
  state.health = alive() ? Health::kHealthy : Health::kEjected;
  state.observed_at = now;
  state.max_loras = spec_.profile.engine.max_loras;
  state.kv_capacity =
      Tokens(spec_.profile.engine.blocks * spec_.profile.engine.block_tokens.count());
  if (!alive()) return entry;
  engine_model::EngineLoad load = engine_->load();
  state.running = load.running;
  state.waiting = load.waiting - load.deferred;
  state.deferred = load.deferred;
  state.kv_usage = load.kv_usage;
  state.running_loras = std::move(load.running_loras);
  state.waiting_loras = std::move(load.waiting_loras);
  state.resident_loras = engine_->resident_loras();
  return entry;
}

void SimPod::stored(const engine_model::BlocksStored& blocks) {
  cache_.stored(index_, blocks.hashes);
}

void SimPod::removed(std::span<const std::uint64_t> hashes) { cache_.removed(index_, hashes); }

}  // namespace baton::orchestrator::simulate
