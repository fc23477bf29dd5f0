#include "core/picking/busy_time.h"

namespace baton {
namespace {

constexpr int kTimeBits = 44;
constexpr std::uint64_t kTime = (std::uint64_t{1} << kTimeBits) - 1;
constexpr std::uint64_t kOne = std::uint64_t{1} << kTimeBits;  // piece of work

std::uint64_t microseconds(TimePoint time) {
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch());
  return static_cast<std::uint64_t>(since.count());
}

bool is_busy(std::uint64_t word) { return word > kTime; }

std::uint64_t plus_time(std::uint64_t word, std::uint64_t us) {
  return (word & ~kTime) | ((word + us) & kTime);
}

}  // namespace

void BusyTime::begin(TimePoint now) {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = kOne + (is_busy(word) ? word : plus_time(word, 0 - microseconds(now)));
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_relaxed));
}

void BusyTime::end(TimePoint now) {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = word - kOne;
    if (!is_busy(next)) next = plus_time(next, microseconds(now));
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_relaxed));
}

BusyTime::Reading BusyTime::read(TimePoint now) const {
  const std::uint64_t word = word_.load(std::memory_order_relaxed);
  return (is_busy(word) ? plus_time(word, microseconds(now)) : word) & kTime;
}

std::chrono::microseconds BusyTime::passed_between(Reading earlier, Reading later) {
  const std::uint64_t passed = (later - earlier) & kTime;
  const bool is_negative = passed > kTime / 2;
  return std::chrono::microseconds(is_negative ? 0 : static_cast<std::int64_t>(passed));
}

}  // namespace baton
