#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/picking/incarnations.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_match.h"
#include "core/picking/prefix_shard.h"
#include "core/units.h"
#include "core/zeroed_words.h"

namespace baton {

// How long a pod is believed to hold a prompt that was sent to it and not yet confirmed.
inline constexpr Duration kBeliefTime = std::chrono::seconds(2);

// Which pods hold which prefixes: chained block hashes (core/prompt_blocks.h) → pods. Shared by all
// threads of the router; reading takes no lock. Memory is bounded in bytes from construction on;
// what was used least recently goes first, and of what was used together the ends before the
// beginnings, as engines do. An answer may be out of date: it is a hint for picking, never a
// promise.
class PrefixIndex {
 public:
  // Too little memory for anything: the index stays empty.
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

  // Sees who holds how much of the chain at `now`: depth() tells of each pod, until `match` is used
  // for another chain.
  void follow(std::span<const std::uint64_t> chain, TimePoint now, PrefixMatch& match) const;
  // The number of leading elements of the chain that the pod held.
  [[nodiscard]] std::uint32_t depth(std::uint32_t pod, const PrefixMatch& match) const {
    return pod < LoadTable::kMaxPods ? match.depth(incarnations_.of(pod)) : 0;
  }
  // Both at once, for each of `pods`.
  [[nodiscard]] std::vector<std::uint32_t> match(std::span<const std::uint64_t> chain,
                                                 std::span<const std::uint32_t> pods,
                                                 TimePoint now) const;

  [[nodiscard]] std::size_t elements() const;
  [[nodiscard]] Bytes memory_used() const;   // of the elements held, with their share of the table
  [[nodiscard]] Bytes memory_bound() const;  // the whole, fixed at construction
  [[nodiscard]] std::uint64_t evictions() const;

 private:
  void hold(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now,
            std::uint64_t until_tick);
  void start_anew();
  [[nodiscard]] std::uint64_t latest_tick(std::uint64_t now_tick) const;
  [[nodiscard]] PrefixShard& shard_of(std::uint64_t hash) const;
  void prefetch(std::span<const std::uint64_t> chain, std::size_t at) const;

  Bytes memory_bound_;
  Incarnations incarnations_;
  ZeroedWords memory_;
  std::size_t shard_count_ = 0;  // 0, or a power of two
  std::unique_ptr<PrefixShard[]> shards_;
  mutable std::atomic<std::uint64_t> latest_tick_{0};
  std::mutex starting_anew_;
};

}  // namespace baton
