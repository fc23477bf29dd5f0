#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/engine_model/engine.h"

namespace baton::adapters::mock {

// Hears what happens to its sequences, on the pod's thread, within the engine's step: it may call
// the rank again, but must not wait.
class SequenceListener {
 public:
  virtual ~SequenceListener() = default;
  virtual void on_event(const engine_model::EngineEvent& event) = 0;
};

// One data-parallel rank of a mock pod: a simulated engine that runs by the clock. It sets a timer
// only while it has something to do. Owned by the pod, on its thread.
class Rank {
 public:
  Rank(boost::asio::io_context& io, engine_model::EngineModelOptions options,
       engine_model::BlockEvents* sink);

  // `listener` outlives the sequence, or aborts it before.
  void submit(engine_model::SequenceId id, engine_model::SequenceSpec spec,
              SequenceListener& listener);
  // No event comes after it.
  void abort(engine_model::SequenceId id);
  void kv_arrived(engine_model::SequenceId id, std::uint64_t content);
  void kv_missing(engine_model::SequenceId id);
  void free_kept(engine_model::SequenceId id);
  bool reset_prefix_cache() { return engine_.reset_prefix_cache(); }
  void pause(bool paused);  // a paused engine takes requests but does nothing
  [[nodiscard]] const engine_model::Engine& engine() const { return engine_; }

 private:
  void schedule();
  void run();

  engine_model::Engine engine_;
  bool paused_ = false;
  boost::asio::steady_timer timer_;
  TimePoint timer_at_ = TimePoint::max();
  std::unordered_map<engine_model::SequenceId, SequenceListener*> listeners_;
  std::vector<engine_model::EngineEvent> events_;
};

// What the ranks of a pod do and hold together, in requests, blocks and tokens.
struct RankTotals {
  double running = 0;
  double waiting = 0;   // with those that are deferred
  double deferred = 0;  // wait for KV
  double used_blocks = 0;
  double blocks = 0;
  double prefix_queries = 0;
  double prefix_hits = 0;
  [[nodiscard]] double hit_rate() const {
    return prefix_queries > 0 ? prefix_hits / prefix_queries : 0;
  }
  [[nodiscard]] double utilization() const { return used_blocks / blocks; }
};
[[nodiscard]] RankTotals totals_of(std::span<const std::shared_ptr<Rank>> ranks);

}  // namespace baton::adapters::mock
