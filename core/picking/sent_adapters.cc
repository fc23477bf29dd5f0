#include "core/picking/sent_adapters.h"

#include <chrono>

namespace baton {
namespace {

std::uint32_t clock_of(TimePoint time) {
  return static_cast<std::uint32_t>(
      std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

// Milliseconds from one to the other, which are less than 24 days apart.
std::int32_t passed(std::uint32_t from, std::uint32_t to) {
  return static_cast<std::int32_t>(to - from);
}

std::uint32_t key_in(std::uint64_t place) { return static_cast<std::uint32_t>(place >> 32); }
std::uint32_t time_in(std::uint64_t place) { return static_cast<std::uint32_t>(place); }

}  // namespace

void SentAdapters::sent(Key adapter, TimePoint now) {
  if (adapter == 0) return;
  const std::uint32_t time = clock_of(now);
  std::atomic<std::uint64_t>* oldest = nullptr;
  std::int32_t most_passed = 0;
  for (auto& place : places_) {
    const std::uint64_t held = place.load(std::memory_order_relaxed);
    if (held == 0 || key_in(held) == adapter) {
      oldest = &place;
      break;
    }
    const std::int32_t since = passed(time_in(held), time);
    if (oldest == nullptr || since > most_passed) {
      oldest = &place;
      most_passed = since;
    }
  }
  oldest->store((std::uint64_t{adapter} << 32) | time, std::memory_order_relaxed);
}

std::optional<SentAdapters::Use> SentAdapters::last_use(Key adapter,
                                                        std::optional<TimePoint> then) const {
  std::array<std::uint64_t, kKept> held{};
  std::optional<std::uint32_t> used;
  for (std::size_t i = 0; i < kKept; ++i) {
    held[i] = places_[i].load(std::memory_order_relaxed);
    if (held[i] == 0) break;  // places fill from the first on
    if (key_in(held[i]) == adapter) used = time_in(held[i]);
  }
  if (!used || adapter == 0) return std::nullopt;
  Use use;
  for (const std::uint64_t other : held) {
    if (other == 0) break;
    if (key_in(other) != adapter && passed(*used, time_in(other)) > 0) ++use.others_since;
  }
  use.after_then = !then || passed(clock_of(*then), *used) >= 0;
  return use;
}

void SentAdapters::reset() {
  for (auto& place : places_) place.store(0, std::memory_order_relaxed);
}

}  // namespace baton
