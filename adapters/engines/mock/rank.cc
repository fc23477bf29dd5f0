#include "adapters/engines/mock/rank.h"

#include <algorithm>
#include <utility>

namespace baton::adapters::mock {

using engine_model::EngineEvent;
using engine_model::SequenceId;

Rank::Rank(boost::asio::io_context& io, engine_model::EngineModelOptions options,
           engine_model::BlockEvents* sink)
    : engine_(std::move(options), sink), timer_(io) {}

void Rank::submit(SequenceId id, engine_model::SequenceSpec spec, SequenceListener& listener) {
  listeners_[id] = &listener;
  engine_.submit(id, std::move(spec));
  schedule();
}

void Rank::abort(SequenceId id) {
  listeners_.erase(id);
  engine_.abort(id);
  schedule();
}

void Rank::kv_arrived(SequenceId id, std::uint64_t content) {
  engine_.kv_arrived(id, content);
  schedule();
}

void Rank::kv_missing(SequenceId id) {
  engine_.kv_missing(id);
  schedule();
}

void Rank::free_kept(SequenceId id) {
  engine_.free_kept(id);
  schedule();
}

void Rank::pause(bool paused) {
  paused_ = paused;
  timer_at_ = TimePoint::max();
  timer_.cancel();
  schedule();
}

void Rank::schedule() {
  const TimePoint next = engine_.next_event_time();
  if (paused_ || next >= timer_at_) return;
  timer_at_ = next;
  timer_.expires_at(std::max(next, Clock::now()));
  timer_.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) run();
  });
}

void Rank::run() {
  timer_at_ = TimePoint::max();
  engine_.advance(Clock::now(), events_);
  for (const EngineEvent& event : std::exchange(events_, {})) {
    const auto found = listeners_.find(event.sequence);
    if (found == listeners_.end()) continue;
    SequenceListener& listener = *found->second;
    if (event.finish) listeners_.erase(found);
    listener.on_event(event);
  }
  schedule();
}

RankTotals totals_of(std::span<const std::shared_ptr<Rank>> ranks) {
  RankTotals all;
  for (const auto& rank : ranks) {
    const engine_model::Engine& engine = rank->engine();
    const auto load = engine.load();
    all.running += load.running;
    all.waiting += load.waiting;
    all.deferred += load.deferred;
    all.used_blocks += engine.pool().used_blocks();
    all.blocks += engine.pool().size();
    all.prefix_queries += static_cast<double>(engine.counts().prefix_queries);
    all.prefix_hits += static_cast<double>(engine.counts().prefix_hits);
  }
  return all;
}

}  // namespace baton::adapters::mock
