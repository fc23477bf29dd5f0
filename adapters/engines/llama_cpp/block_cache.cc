#include "adapters/engines/llama_cpp/block_cache.h"

#include <ranges>

namespace baton::adapters {

const StoredBlock* BlockCache::find(std::uint64_t hash) const {
  const auto entry = entries_.find(hash);
  return entry == entries_.end() ? nullptr : &entry->second.block;
}

void BlockCache::touch(std::span<const std::uint64_t> chain) {
  for (const std::uint64_t hash : std::views::reverse(chain)) {
    const auto entry = entries_.find(hash);
    if (entry != entries_.end()) by_use_.splice(by_use_.begin(), by_use_, entry->second.place);
  }
}

std::optional<kv::SlotRef> BlockCache::allocate() {
  while (true) {
    if (auto slot = arena_.allocate()) return slot;
    if (entries_.empty()) return std::nullopt;
    // Whole chains that leases pin would be lost without gaining a slot.
    const kv::BlockArena::Counts counts = arena_.counts();
    if (counts.pinned >= counts.total) return std::nullopt;
    evict(1);
  }
}

void BlockCache::insert(std::uint64_t hash, const StoredBlock& block) {
  const auto [entry, is_new] = entries_.try_emplace(hash, Entry{block, {}});
  if (!is_new) {
    arena_.free(block.slot);
    return;
  }
  by_use_.push_front(hash);
  entry->second.place = by_use_.begin();
}

void BlockCache::evict(int blocks) {
  for (; blocks > 0 && !by_use_.empty(); --blocks) {
    const auto entry = entries_.find(by_use_.back());
    arena_.free(entry->second.block.slot);
    entries_.erase(entry);
    by_use_.pop_back();
  }
}

}  // namespace baton::adapters
