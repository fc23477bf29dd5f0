#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/units.h"

namespace baton {

// How long something has had any work, summed over all time: intervals that overlap count once.
// One word, so that it adds nothing to what pickers read; any thread, without locks. The time is
// passed in.
class BusyTime {
 public:
  void begin(TimePoint now);  // one more piece of work
  void end(TimePoint now);    // one less

  // Up to `now`, as a reading that only passed_between() can tell apart from others.
  using Reading = std::uint64_t;
  [[nodiscard]] Reading read(TimePoint now) const;

  // Busy time between two readings that are less than 100 days apart; 0 where `later` is the
  // earlier one after all.
  [[nodiscard]] static std::chrono::microseconds passed_between(Reading earlier, Reading later);

 private:
  // Upper 20 bits: pieces of work. Below, modulo 2^44 us: what was busy and is over, less the
  // beginning of what goes on.
  std::atomic<std::uint64_t> word_{0};
};

}  // namespace baton
