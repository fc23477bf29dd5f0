#include "core/picking/incarnations.h"

#include "core/picking/pod_load.h"

namespace baton {
namespace {

constexpr std::uint32_t kEnd = Incarnations::kGroups * Incarnations::kMembers;

std::uint64_t stride_bit(std::uint32_t number) {
  return std::uint64_t{1} << (number % Incarnations::kStride);
}

}  // namespace

Incarnations::Incarnations() : numbers_(LoadTable::kMaxPods), alive_(kGroups) {}

std::uint32_t Incarnations::give(std::uint32_t pod) {
  std::uint32_t next = next_.load(std::memory_order_relaxed);
  do {
    if (next >= kEnd) return kNone;
  } while (!next_.compare_exchange_weak(next, next + 1, std::memory_order_relaxed));
  const std::uint32_t number = next / kMembers * kStride + next % kMembers;
  const auto alive = alive_.at(number / kStride);
  alive.fetch_or(stride_bit(number), std::memory_order_relaxed);
  std::uint64_t known = kNone;
  if (numbers_.at(pod).compare_exchange_strong(known, number, std::memory_order_acq_rel)) {
    return number;
  }
  alive.fetch_and(~stride_bit(number), std::memory_order_relaxed);
  return static_cast<std::uint32_t>(known);
}

void Incarnations::forget(std::uint32_t pod) {
  const auto number =
      static_cast<std::uint32_t>(numbers_.at(pod).exchange(kNone, std::memory_order_acq_rel));
  if (number == kNone) return;
  alive_.at(number / kStride).fetch_and(~stride_bit(number), std::memory_order_relaxed);
}

bool Incarnations::open() const { return next_.load(std::memory_order_relaxed) < kEnd; }

void Incarnations::close() {
  next_.store(kEnd, std::memory_order_relaxed);
  for (std::uint32_t pod = 0; pod < LoadTable::kMaxPods; ++pod) forget(pod);
}

void Incarnations::reopen() { next_.store(kMembers, std::memory_order_relaxed); }

}  // namespace baton
