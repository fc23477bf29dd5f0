#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/units.h"

namespace baton {

// How long a pod is believed to hold a prompt that was sent to it and not yet confirmed.
inline constexpr Duration kBeliefTime = std::chrono::seconds(2);

// Which pods hold which prefixes: chained block hashes (core/prompt_blocks.h) → pods. Shared by all
// threads of the router. Memory is bounded in bytes from construction on; the least recently used
// elements of a shard go first. An answer may be out of date: it is a hint for picking, never a
// promise. Elements are sharded by their own hash, not by their chain's beginning, and readers of a
// shard do not exclude each other, so prompts that share their first block do not queue.
class PrefixIndex {
 public:
  explicit PrefixIndex(Bytes memory);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // A prompt with this chain was routed to the pod: believed held until `until`, or until
  // confirmed. Never shortens or downgrades what is known.
  void believe(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now,
               TimePoint until);
  // The pod said that it holds the chain (its answer, or an event of its cache): held until evicted
  // here, retracted or forgotten.
  void confirm(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now);
  // The pod no longer holds these elements (they need not begin a chain).
  void retract(std::span<const std::uint64_t> elements, std::uint32_t pod);
  // The pod restarted or left: nothing of it is held. Constant time.
  void forget_pod(std::uint32_t pod);

  // For each of `pods`, the number of leading elements of `chain` that it holds at `now`.
  [[nodiscard]] std::vector<std::uint32_t> match(std::span<const std::uint64_t> chain,
                                                 std::span<const std::uint32_t> pods,
                                                 TimePoint now) const;

  [[nodiscard]] std::size_t elements() const;
  [[nodiscard]] Bytes memory_used() const;   // of the elements held, with their share of the table
  [[nodiscard]] Bytes memory_bound() const;  // the whole, fixed at construction
  [[nodiscard]] std::uint64_t evictions() const;

 private:
  struct Holder;
  struct Element;
  class Shard;

  void hold(std::span<const std::uint64_t> chain, std::uint32_t pod, std::uint32_t now_tick,
            std::uint32_t until_tick);
  [[nodiscard]] Shard& shard_of(std::uint64_t hash) const;

  std::unique_ptr<Shard[]> shards_;
  std::unique_ptr<std::atomic<std::uint16_t>[]> generations_;  // by pod; a holder's must agree
  Bytes memory_;
};

}  // namespace baton
