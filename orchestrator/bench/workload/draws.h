#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace baton::orchestrator::bench {

// Scrambles 64 bits so that neighbouring inputs give unrelated outputs (SplitMix64's finalizer,
// Steele, Lea and Flood 2014).
[[nodiscard]] constexpr std::uint64_t scramble(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

// One number for a tuple of them; order matters.
[[nodiscard]] constexpr std::uint64_t mix(std::initializer_list<std::uint64_t> values) {
  std::uint64_t state = 0;
  for (const std::uint64_t value : values) state = scramble(state ^ scramble(value));
  return state;
}

// A short random sequence that depends on its key alone, so that element `i` of a workload can be
// drawn without drawing those before it. SplitMix64; a value on the stack.
class Draws {
 public:
  explicit Draws(std::uint64_t key) : state_(key) {}
  [[nodiscard]] std::uint64_t next() {
    const std::uint64_t value = scramble(state_);
    state_ += 0x9E3779B97F4A7C15;
    return value;
  }
  // In [0, 1).
  [[nodiscard]] double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  // In [0, bound); bound of at least 1, and so far below 2^64 that its bias does not show.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  // In [low, high].
  [[nodiscard]] int between(int low, int high) {
    return low + static_cast<int>(below(static_cast<std::uint64_t>(high - low) + 1));
  }

 private:
  std::uint64_t state_;
};

}  // namespace baton::orchestrator::bench
