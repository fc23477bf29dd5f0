#include "core/picking/pair_factors.h"

#include <algorithm>

namespace baton {
namespace {

std::uint64_t pair_of(std::uint32_t from, std::uint32_t to) {
  return (static_cast<std::uint64_t>(from) << 32U) | to;
}

}  // namespace

PairFactors::PairFactors() : sets_(std::make_unique<std::array<Set, kPairs / kWays>>()) {}

PairFactors::Set& PairFactors::set_of(std::uint64_t pair) const {
  const std::uint64_t spread = (pair * 0x9E3779B97F4A7C15) >> 32U;  // Fibonacci hashing
  return (*sets_)[spread % sets_->size()];
}

double PairFactors::get(std::uint32_t from, std::uint32_t to) const {
  const std::uint64_t pair = pair_of(from, to);
  for (const Entry& entry : set_of(pair)) {
    if (entry.pair.load(std::memory_order_relaxed) == pair) return entry.factor.get();
  }
  return 1.0;
}

OwnFactor& PairFactors::of(std::uint32_t from, std::uint32_t to) {
  const std::uint64_t pair = pair_of(from, to);
  Set& set = set_of(pair);
  auto* entry = std::ranges::find_if(set, [pair](const Entry& candidate) {
    return candidate.pair.load(std::memory_order_relaxed) == pair;
  });
  if (entry == set.end()) {
    entry = std::ranges::min_element(set, {}, &Entry::observed);
    entry->factor.reset();
    entry->pair.store(pair, std::memory_order_relaxed);
  }
  entry->observed = ++observations_;
  return entry->factor;
}

void PairFactors::forget_pod(std::uint32_t pod) {
  for (Set& set : *sets_) {
    for (Entry& entry : set) {
      const std::uint64_t pair = entry.pair.load(std::memory_order_relaxed);
      if (entry.observed == 0 || ((pair >> 32U) != pod && (pair & 0xFFFFFFFFU) != pod)) continue;
      entry.pair.store(kNoPair, std::memory_order_relaxed);
      entry.observed = 0;
    }
  }
}

void PairFactors::forget(double kept) {
  UsualFactor usual;
  for (const Set& set : *sets_) {
    for (const Entry& entry : set) {
      if (entry.observed != 0) usual.add(entry.factor);
    }
  }
  if (!usual.known()) return;
  for (Set& set : *sets_) {
    for (Entry& entry : set) {
      if (entry.observed != 0) entry.factor.forget(kept, usual.logarithm());
    }
  }
}

}  // namespace baton
