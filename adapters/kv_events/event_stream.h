#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"

namespace baton::adapters {

enum class ResetReason : std::uint8_t {
  kGap,      // batches are lost for good
  kRestart,  // the publisher began anew
  kBacklog,  // too much came while a replay was under way
};
enum class ReplayEnd : std::uint8_t {
  kFilled,  // brought what was missing
  kShort,   // the publisher had some of it no longer
  kFailed,  // no answer in time
};

// What the owner of an EventStream has to do, in order.
struct StreamStep {
  enum class Kind : std::uint8_t {
    kApply,        // the events of `payload`
    kReset,        // forget all that was applied
    kConfirm,      // what was applied still holds, though others forgot it
    kAskReplay,    // from `sequence` on; a request under way is given up
    kReplayEnded,  // close the request
    kGap,          // to be counted
  };
  Kind kind = Kind::kApply;
  std::string payload{};
  std::uint64_t sequence = 0;
  ResetReason reset = ResetReason::kGap;
  ReplayEnd replay = ReplayEnd::kFilled;
};
using StreamSteps = std::vector<StreamStep>;

// Puts one publisher's numbered batches in order: live ones, and those replayed on request. Nothing
// is applied twice or out of order; what cannot be had any more resets what was applied, as a
// removal may have been in it. Live batches that come during a replay are held, within a bound.
// Pure: owned by who has the sockets; time is passed in.
//
// Publishers number from 0 at their start and answer a replay with every batch that they still have
// from the asked one on (vllm/distributed/kv_events.py, ZmqEventPublisher).
class EventStream {
 public:
  static constexpr Duration kReplayTime = std::chrono::seconds(2);  // without any answer
  static constexpr std::size_t kMaxHeld = 10'000;                   // batches
  static constexpr std::size_t kMaxHeldBytes = 64U << 20;

  explicit EventStream(bool has_replay) : has_replay_(has_replay) {}

  [[nodiscard]] StreamSteps begin(TimePoint now);
  [[nodiscard]] StreamSteps on_live(std::uint64_t sequence, std::string payload, TimePoint now);
  [[nodiscard]] StreamSteps on_replayed(std::uint64_t sequence, std::string payload, TimePoint now);
  [[nodiscard]] StreamSteps on_replay_end(TimePoint now);
  // The pod is another process than before, which its numbers may not have shown.
  [[nodiscard]] StreamSteps on_new_process(TimePoint now);
  // To be called from deadline() on.
  [[nodiscard]] StreamSteps on_time(TimePoint now);
  [[nodiscard]] TimePoint deadline() const {
    return is_replaying_ ? give_up_at_ : TimePoint::max();
  }

 private:
  struct Batch {
    std::uint64_t sequence;
    std::string payload;
  };

  void start_over(ResetReason reason, TimePoint now, StreamSteps& steps);
  void ask(std::uint64_t from, TimePoint now, StreamSteps& steps);
  void end_replay(ReplayEnd how, StreamSteps& steps);
  void hold(Batch batch, TimePoint now, StreamSteps& steps);
  void drain(TimePoint now, StreamSteps& steps);
  void apply(Batch batch, StreamSteps& steps);
  void reset(ResetReason reason, StreamSteps& steps);

  bool has_replay_;
  bool is_fresh_ = true;                    // nothing was applied since the last reset
  std::optional<std::uint64_t> next_;       // to be applied; none: whatever comes
  std::optional<std::uint64_t> live_next_;  // after the last live one
  bool went_back_ = false;                  // a restart was seen by its numbers
  std::deque<Batch> held_;
  std::size_t held_bytes_ = 0;

  bool is_replaying_ = false;
  bool is_short_ = false;
  std::uint64_t asked_from_ = 0;
  TimePoint give_up_at_{};
};

}  // namespace baton::adapters
