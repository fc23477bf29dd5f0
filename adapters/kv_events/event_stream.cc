#include "adapters/kv_events/event_stream.h"

#include <utility>

namespace baton::adapters {

using Kind = StreamStep::Kind;

StreamSteps EventStream::begin(TimePoint now) {
  StreamSteps steps;
  if (has_replay_) ask(0, now, steps);
  return steps;
}

StreamSteps EventStream::on_live(std::uint64_t sequence, std::string payload, TimePoint now) {
  StreamSteps steps;
  if (live_next_ && sequence < *live_next_) {
    went_back_ = true;
    start_over(ResetReason::kRestart, now, steps);
  }
  live_next_ = sequence + 1;
  Batch batch{sequence, std::move(payload)};
  if (is_replaying_) {
    hold(std::move(batch), now, steps);
  } else if (!next_ || sequence == *next_) {
    apply(std::move(batch), steps);
  } else if (sequence > *next_) {
    steps.push_back({.kind = Kind::kGap});
    if (has_replay_) {
      ask(*next_, now, steps);
      hold(std::move(batch), now, steps);
    } else {
      reset(ResetReason::kGap, steps);
      apply(std::move(batch), steps);
    }
  }  // else a replay has brought it
  return steps;
}

StreamSteps EventStream::on_replayed(std::uint64_t sequence, std::string payload, TimePoint now) {
  StreamSteps steps;
  if (!is_replaying_) return steps;
  give_up_at_ = now + kReplayTime;
  if (sequence < *next_) return steps;
  if (sequence > *next_) {
    is_short_ = true;
    reset(ResetReason::kGap, steps);
  }
  apply({sequence, std::move(payload)}, steps);
  return steps;
}

StreamSteps EventStream::on_replay_end(TimePoint now) {
  StreamSteps steps;
  if (!is_replaying_) return steps;
  end_replay(is_short_ ? ReplayEnd::kShort : ReplayEnd::kFilled, steps);
  drain(now, steps);
  return steps;
}

StreamSteps EventStream::on_time(TimePoint now) {
  StreamSteps steps;
  if (!is_replaying_ || now < give_up_at_) return steps;
  end_replay(ReplayEnd::kFailed, steps);
  drain(now, steps);
  return steps;
}

StreamSteps EventStream::on_new_process(TimePoint now) {
  StreamSteps steps;
  if (std::exchange(went_back_, false)) {
    steps.push_back({.kind = Kind::kConfirm});
    return steps;
  }
  live_next_.reset();
  start_over(ResetReason::kRestart, now, steps);
  return steps;
}

void EventStream::start_over(ResetReason reason, TimePoint now, StreamSteps& steps) {
  held_.clear();
  held_bytes_ = 0;
  if (is_replaying_) end_replay(ReplayEnd::kFailed, steps);
  reset(reason, steps);
  next_.reset();
  if (has_replay_) ask(0, now, steps);
}

void EventStream::ask(std::uint64_t from, TimePoint now, StreamSteps& steps) {
  is_replaying_ = true;
  is_short_ = false;
  next_ = asked_from_ = from;
  give_up_at_ = now + kReplayTime;
  steps.push_back({.kind = Kind::kAskReplay, .sequence = from});
}

void EventStream::end_replay(ReplayEnd how, StreamSteps& steps) {
  is_replaying_ = false;
  steps.push_back({.kind = Kind::kReplayEnded, .replay = how});
}

void EventStream::hold(Batch batch, TimePoint now, StreamSteps& steps) {
  held_bytes_ += batch.payload.size();
  held_.push_back(std::move(batch));
  if (held_.size() <= kMaxHeld && held_bytes_ <= kMaxHeldBytes) return;
  end_replay(ReplayEnd::kFailed, steps);
  reset(ResetReason::kBacklog, steps);
  next_ = asked_from_ = held_.front().sequence;
  drain(now, steps);
}

void EventStream::drain(TimePoint now, StreamSteps& steps) {
  while (!held_.empty()) {
    const std::uint64_t sequence = held_.front().sequence;
    if (sequence > *next_) {
      // Lost between a replay and what came live. Asked for again if that can bring something new.
      if (*next_ > asked_from_) {
        ask(*next_, now, steps);
        return;
      }
      reset(ResetReason::kGap, steps);
    }
    Batch batch = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= batch.payload.size();
    if (sequence >= *next_) apply(std::move(batch), steps);
  }
}

void EventStream::apply(Batch batch, StreamSteps& steps) {
  next_ = batch.sequence + 1;
  is_fresh_ = false;
  steps.push_back({.kind = Kind::kApply, .payload = std::move(batch.payload)});
}

void EventStream::reset(ResetReason reason, StreamSteps& steps) {
  if (std::exchange(is_fresh_, true)) return;
  steps.push_back({.kind = Kind::kReset, .reset = reason});
}

}  // namespace baton::adapters
