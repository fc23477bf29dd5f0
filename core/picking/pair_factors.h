#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/picking/own_factor.h"

namespace baton {

// The OwnFactor of ordered pairs of pods, as many as have room: of pairs that share a set, the
// least recently observed gives way. Written under the lock of its LatencyModel; get() by any
// thread, 1 for a pair that is not remembered.
class PairFactors {
 public:
  PairFactors();

  [[nodiscard]] double get(std::uint32_t from, std::uint32_t to) const;
  // That of a pair, remembered from now on.
  [[nodiscard]] OwnFactor& of(std::uint32_t from, std::uint32_t to);
  void forget_pod(std::uint32_t pod);
  void forget(double kept);  // OwnFactor::forget() of all

  static constexpr std::size_t kPairs = 4096;

 private:
  static constexpr std::size_t kWays = 8;
  static constexpr std::uint64_t kNoPair = ~0ULL;

  struct Entry {
    std::atomic<std::uint64_t> pair{kNoPair};
    std::uint64_t observed = 0;  // by `observations_`; 0: empty
    OwnFactor factor;
  };
  using Set = std::array<Entry, kWays>;

  [[nodiscard]] Set& set_of(std::uint64_t pair) const;

  std::unique_ptr<std::array<Set, kPairs / kWays>> sets_;
  std::uint64_t observations_ = 0;
};

}  // namespace baton
