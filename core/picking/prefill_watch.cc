#include "core/picking/prefill_watch.h"

#include <algorithm>
#include <cmath>

namespace baton {

std::optional<PrefillWatch::Interval> PrefillWatch::done(const Done& prompt) {
  last_done_.store(prompt.done_at, std::memory_order_relaxed);
  const std::scoped_lock lock(mutex_);
  const bool was_waiting = work_.prompts > 0 && prompt.sent_at < ended_;
  if (was_waiting && (work_.prompts < kTogether || prompt.done_at - ended_ < kOneStep)) {
    began_ = std::min(began_, std::max(before_, prompt.sent_at));
    ended_ = std::max(ended_, prompt.done_at);
    work_ += prompt.work;
    is_sure_ = is_sure_ && prompt.is_sure;
    return std::nullopt;
  }
  std::optional<Interval> over;
  if (work_.prompts > 0) {
    const double seconds = to_seconds(ended_ - began_);
    if (is_sure_) over = Interval{work_, seconds};
    add_to_share(seconds, ended_);
    before_ = ended_;
  }
  began_ = std::max(before_, prompt.sent_at);
  ended_ = prompt.done_at;
  work_ = prompt.work;
  is_sure_ = prompt.is_sure;
  return over;
}

// An average with an exponential window, of a signal that was 1 for `busy_seconds` up to `until`.
void PrefillWatch::add_to_share(double busy_seconds, TimePoint until) {
  const double kept = std::exp(-std::max(0.0, busy_seconds) / kMemory.count());
  const TimePoint began =
      until - std::chrono::duration_cast<Duration>(Seconds(std::max(0.0, busy_seconds)));
  share_.store(share(began) * kept + 1 - kept, std::memory_order_relaxed);
  share_at_.store(until, std::memory_order_relaxed);
}

void PrefillWatch::assume_share(double share, TimePoint now) {
  share_.store(share, std::memory_order_relaxed);
  share_at_.store(now, std::memory_order_relaxed);
}

void PrefillWatch::reset() {
  last_done_.store({}, std::memory_order_relaxed);
  share_.store(0, std::memory_order_relaxed);
  const std::scoped_lock lock(mutex_);
  before_ = TimePoint::min();
  work_ = {};
}

}  // namespace baton
