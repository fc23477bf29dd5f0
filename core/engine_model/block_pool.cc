#include "core/engine_model/block_pool.h"

#include <cassert>
#include <ranges>

namespace baton::engine_model {

BlockPool::BlockPool(std::int32_t blocks, Tokens block_tokens, BlockEvents* sink)
    : block_tokens_(block_tokens), sink_(sink), blocks_(static_cast<std::size_t>(blocks)) {
  assert(blocks > 0 && block_tokens.count() > 0);
  for (Block& block : blocks_) free_.push_back(block);
}

std::size_t BlockPool::blocks_for(std::size_t tokens) const {
  const auto size = static_cast<std::size_t>(block_tokens_.count());
  return (tokens + size - 1) / size;
}

std::size_t BlockPool::held_prefix(std::span<const std::uint64_t> chain) const {
  std::size_t held = 0;
  while (held < chain.size() && by_hash_.contains(chain[held])) ++held;
  return held;
}

std::optional<std::vector<BlockId>> BlockPool::take(std::span<const std::uint64_t> prefix,
                                                    std::size_t fresh) {
  std::vector<BlockId> taken;
  taken.reserve(prefix.size() + fresh);
  for (const std::uint64_t hash : prefix) {
    const auto held = by_hash_.find(hash);
    assert(held != by_hash_.end());
    reference(held->second);
    taken.push_back(held->second);
  }
  if (free_.size() < fresh) {
    unpin(taken);
    return std::nullopt;
  }
  for (; fresh > 0; --fresh) {
    const BlockId id = id_of(free_.front());
    if (at(id).hash) evict(id);
    reference(id);
    taken.push_back(id);
  }
  return taken;
}

void BlockPool::publish(std::span<const BlockId> blocks, std::span<const std::uint64_t> hashes,
                        std::optional<std::uint64_t> parent, std::span<const TokenId> tokens,
                        std::string_view lora) {
  assert(blocks.size() == hashes.size());
  const auto size = static_cast<std::size_t>(block_tokens_.count());
  assert(tokens.size() == blocks.size() * size);
  std::size_t first = 0;  // of the run of new ones
  const auto tell = [&](std::size_t end) {
    if (end == first || sink_ == nullptr) return;
    const auto before = first == 0 ? parent : std::optional(hashes[first - 1]);
    sink_->stored({hashes.subspan(first, end - first), before,
                   tokens.subspan(first * size, (end - first) * size), block_tokens_, lora});
  };
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Block& block = at(blocks[i]);
    assert(block.references > 0);
    if (block.hash || !by_hash_.emplace(hashes[i], blocks[i]).second) {
      tell(i);
      first = i + 1;
      continue;
    }
    block.hash = hashes[i];
  }
  tell(blocks.size());
}

void BlockPool::pin(std::span<const BlockId> blocks) {
  for (const BlockId id : blocks) {
    assert(at(id).references > 0);
    reference(id);
  }
}

void BlockPool::unpin(std::span<const BlockId> blocks) {
  // From the end, so that a prompt's beginning, which more prompts share, is kept longest. Blocks
  // that nobody can find go to the front: taking them costs nothing.
  for (const BlockId id : std::views::reverse(blocks)) {
    Block& block = at(id);
    assert(block.references > 0);
    if (--block.references > 0) continue;
    free_.insert(block.hash ? free_.end() : free_.begin(), block);
  }
}

bool BlockPool::clear() {
  if (used_blocks() > 0) return false;
  for (Block& block : blocks_) block.hash.reset();
  by_hash_.clear();
  if (sink_ != nullptr) sink_->cleared();
  return true;
}

void BlockPool::reference(BlockId id) {
  Block& block = at(id);
  if (block.references++ == 0) free_.erase(free_.iterator_to(block));
}

void BlockPool::evict(BlockId id) {
  Block& block = at(id);
  const std::uint64_t hash = *block.hash;
  by_hash_.erase(hash);
  block.hash.reset();
  ++stats_.evictions;
  if (sink_ != nullptr) sink_->removed({&hash, 1});
}

}  // namespace baton::engine_model
