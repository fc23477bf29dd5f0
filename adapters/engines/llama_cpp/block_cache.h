#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>

#include "kv_transfer/arena.h"

namespace baton::adapters {

// KV of some tokens, exported from the context into a slot of the arena.
struct StoredBlock {
  kv::SlotRef slot;
  std::uint32_t bytes = 0;
  std::uint64_t checksum = 0;
  int tokens = 0;
};

// Finished blocks by content: the key is the chain hash of core/prompt_blocks.h, which stands for
// the block and everything before it. Owned by the engine, on its thread; the arena's other users
// (leases, arriving transfers) allocate and pin beside it. Promises: an entry's slot stays its own
// until it is evicted, least recently used first; an evicted slot that a lease still pins keeps its
// bytes until the lease ends.
class BlockCache {
 public:
  explicit BlockCache(kv::BlockArena& arena) : arena_(arena) {}
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  [[nodiscard]] const StoredBlock* find(std::uint64_t hash) const;  // until the next change
  // Marks a prompt's blocks as used just now, the first one most recently: a chain must lose its
  // end before its beginning, since nothing is found behind a gap.
  void touch(std::span<const std::uint64_t> chain);

  // A slot to write a new block to; evicts where the arena is full. None: all of it is pinned.
  [[nodiscard]] std::optional<kv::SlotRef> allocate();
  // Takes over an allocated slot. If the block is there already, the slot is freed instead.
  void insert(std::uint64_t hash, const StoredBlock& block);
  // Frees the slots of up to `blocks` entries.
  void evict(int blocks);

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    StoredBlock block;
    std::list<std::uint64_t>::iterator place;
  };

  kv::BlockArena& arena_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::list<std::uint64_t> by_use_;  // most recent first
};

}  // namespace baton::adapters
