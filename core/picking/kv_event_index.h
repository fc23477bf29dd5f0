#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/picking/kv_event.h"
#include "core/picking/prefix_index.h"
#include "core/units.h"

namespace baton {

// What became of the blocks that an event names.
enum class KvBlockFate : std::uint8_t {
  kStored,         // held from now on, or still
  kRemoved,        // held no more
  kOtherSize,      // not the pool's block size: no element of its chains
  kOtherKeys,      // depends on more than tokens, adapter and salt (an image, an unnamed adapter)
  kNotResident,    // in CPU memory, on disk or at another pod: a hit there is not free
  kUnknownParent,  // continues what was never heard of, as after a start without replay
  kNoRoom,         // over the pod's bound
};
inline constexpr std::size_t kKvBlockFates = 7;
[[nodiscard]] std::string_view name_of(KvBlockFate fate);       // as a metric label
using KvBlockTally = std::array<std::uint64_t, kKvBlockFates>;  // by fate

// One pod's KV events into the prefix index: an engine's hash of a block becomes the element of our
// token chain (core/prompt_blocks.h) that stands for the same prompt, by computing it anew from the
// block's tokens behind its parent's element; so the engine's hash function does not matter. A
// block is held while any data-parallel rank holds it for any group of layers. Two physical copies
// of a block at one rank count as one, since engines do not tell them apart: after the removal of
// the first, the second is not seen until it is stored again. About 100 bytes a block. Owned by who
// reads the events, used on one thread; the index is shared and outlives it.
class KvEventIndex {
 public:
  static constexpr std::size_t kMaxBlocks = 1 << 20;

  // `pod` is the pod's index in the snapshot. Blocks beyond `max_blocks` are not taken in.
  KvEventIndex(PrefixIndex& prefixes, std::uint32_t pod, Tokens block_tokens, std::size_t ranks,
               std::size_t max_blocks = kMaxBlocks);

  // `rank` is below the number of ranks (asserted).
  KvBlockTally apply(std::size_t rank, const KvEvent& event, TimePoint now);
  // Nothing is known of the rank any more: it restarted, or events were lost.
  void clear(std::size_t rank);
  // Tells the index anew all that is held, after PrefixIndex::forget_pod().
  void confirm_all(TimePoint now);

  // Of all ranks, each block once for each rank that holds it.
  [[nodiscard]] std::size_t blocks_held() const { return blocks_held_; }

 private:
  struct Block {
    std::uint64_t element = 0;
    std::uint64_t groups = 0;  // one bit each; none: removed, kept for what continues it
  };
  struct Rank {
    std::unordered_map<std::uint64_t, Block> blocks;  // by the engine's hash
    std::deque<std::uint64_t> removed;                // longest ago first
  };

  void store(Rank& rank, const KvBlocksStored& event, TimePoint now, KvBlockTally& tally);
  void remove(Rank& rank, const KvBlocksRemoved& event, KvBlockTally& tally);
  [[nodiscard]] std::optional<std::uint64_t> element_before(const Rank& rank,
                                                            const KvBlocksStored& event) const;
  bool hold(Rank& rank, std::uint64_t block, std::uint64_t element, std::uint64_t group,
            std::vector<std::uint64_t>& gone);
  // Drops the block's claim to its element; the element goes to `gone` with the last claim.
  void let_go(const Block& block, std::vector<std::uint64_t>& gone);
  void keep_removed(Rank& rank, std::uint64_t block);

  PrefixIndex& prefixes_;
  std::uint32_t pod_;
  std::size_t block_tokens_;
  std::size_t max_blocks_;
  std::vector<Rank> ranks_;
  std::size_t blocks_held_ = 0;
  std::unordered_map<std::uint64_t, std::uint32_t> claims_;  // blocks held, by element
};

}  // namespace baton
