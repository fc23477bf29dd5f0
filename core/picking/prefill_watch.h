#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

#include "core/picking/prompt_work.h"
#include "core/units.h"

namespace baton {

// Tells from when the prompts of one pod were sent and done how long it was busy with them: from
// the completion before, or from sending where it was idle. Part of PodLoad; any thread, a short
// lock. Of a busy pod kTogether prompts make an interval, and all that are done within kOneStep
// after them: engines compute parts of several in one step. It is known once the next one begins.
class PrefillWatch {
 public:
  struct Done {
    TimePoint sent_at{};
    TimePoint done_at{};
    PromptWork work;
    bool is_sure = true;  // `work` is right, and it waited for nothing that is not told here
  };
  struct Interval {
    PromptWork work;
    double seconds = 0;
  };
  // The interval before, now that it is over; none where it says nothing.
  [[nodiscard]] std::optional<Interval> done(const Done& prompt);
  void reset();
  // Of the last kMemory or so, how much of the time the pod computed prompts; 0 to 1.
  // It is asked for each of a thousand pods: a fraction stands in for the exponential function.
  [[nodiscard]] double share(TimePoint now) const {
    const double then = share_.load(std::memory_order_relaxed);
    if (then <= 0.0) return 0.0;
    const Seconds passed = now - share_at_.load(std::memory_order_relaxed);
    const double x = std::max(0.0, passed.count()) / kMemory.count();
    return then / (1 + x + x * x / 2);
  }
  void assume_share(double share, TimePoint now);  // as seen elsewhere
  [[nodiscard]] TimePoint last_done() const { return last_done_.load(std::memory_order_relaxed); }

  static constexpr int kTogether = 4;
  static constexpr Duration kOneStep = std::chrono::milliseconds(1);
  static constexpr Seconds kMemory{10};

 private:
  void add_to_share(double busy_seconds, TimePoint until);

  std::atomic<TimePoint> last_done_{};
  std::atomic<double> share_{0};  // when the last interval was over
  std::atomic<TimePoint> share_at_{};
  std::mutex mutex_;
  TimePoint before_ = TimePoint::min();  // the end of the interval before the current one
  TimePoint began_{};
  TimePoint ended_{};
  PromptWork work_;  // none: nothing was done yet
  bool is_sure_ = true;
};

}  // namespace baton
