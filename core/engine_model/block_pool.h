#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer.h"
#include "core/units.h"

namespace baton::engine_model {

using BlockId = std::int32_t;

// Full blocks that became findable, one behind the other. The spans live as long as the call.
struct BlocksStored {
  std::span<const std::uint64_t> hashes;
  std::optional<std::uint64_t> parent;  // of the first one; none: it begins a prompt
  std::span<const TokenId> tokens;      // of all of them, block after block
  Tokens block_tokens;
  std::string_view lora;
};

// Learns what the cache holds, as an engine's KV events tell it. Called within the pool's own
// calls.
class BlockEvents {
 public:
  virtual ~BlockEvents() = default;
  virtual void stored(const BlocksStored& blocks) = 0;
  virtual void removed(std::span<const std::uint64_t> hashes) = 0;
  virtual void cleared() = 0;
};

struct BlockPoolStats {
  std::int64_t evictions = 0;
};

// The KV blocks of one engine: a fixed number, counted references, and a prefix cache of full
// blocks found by their chained hash (core/prompt_blocks.h). Owned by an engine; pure. Promises: a
// block that somebody references is never evicted; of the others the one unused for longest goes
// first, and of one prompt its end before its beginning, as vLLM 0.32.0 frees them
// (v1/core/block_pool.py).
class BlockPool {
 public:
  // `sink` may be null; it outlives the pool.
  BlockPool(std::int32_t blocks, Tokens block_tokens, BlockEvents* sink);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  [[nodiscard]] Tokens block_tokens() const { return block_tokens_; }
  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(blocks_.size()); }
  [[nodiscard]] std::int32_t free_blocks() const { return static_cast<std::int32_t>(free_.size()); }
  [[nodiscard]] std::int32_t used_blocks() const { return size() - free_blocks(); }
  [[nodiscard]] std::size_t cached_blocks() const { return by_hash_.size(); }
  [[nodiscard]] const BlockPoolStats& stats() const { return stats_; }
  [[nodiscard]] std::size_t blocks_for(std::size_t tokens) const;

  // How many blocks at the beginning of this chain are held.
  [[nodiscard]] std::size_t held_prefix(std::span<const std::uint64_t> chain) const;

  // References the held blocks of `prefix` (all of which must be held) and takes `fresh` empty ones
  // behind them, evicting where needed. Nothing: there are too few; then nothing was changed.
  [[nodiscard]] std::optional<std::vector<BlockId>> take(std::span<const std::uint64_t> prefix,
                                                         std::size_t fresh);
  // Makes the referenced blocks findable, whose tokens are computed now. `parent` is the hash
  // before the first. A hash that another block has already stays with that one.
  void publish(std::span<const BlockId> blocks, std::span<const std::uint64_t> hashes,
               std::optional<std::uint64_t> parent, std::span<const TokenId> tokens,
               std::string_view lora);
  void pin(std::span<const BlockId> blocks);    // one more reference to each; all are referenced
  void unpin(std::span<const BlockId> blocks);  // one less
  // Forgets every cached block. False, and nothing done, while any block is referenced, as vLLM's
  // reset_prefix_cache has it.
  bool clear();

 private:
  using FreeHook =
      boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;
  struct Block : FreeHook {  // in free_ while nobody references it
    int references = 0;
    std::optional<std::uint64_t> hash;
  };
  [[nodiscard]] Block& at(BlockId id) { return blocks_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] BlockId id_of(const Block& block) const {
    return static_cast<BlockId>(&block - blocks_.data());
  }
  void reference(BlockId id);
  void evict(BlockId id);

  Tokens block_tokens_;
  BlockEvents* sink_;
  std::vector<Block> blocks_;
  boost::intrusive::list<Block> free_;  // next to be taken first
  boost::unordered_flat_map<std::uint64_t, BlockId> by_hash_;
  BlockPoolStats stats_;
};

}  // namespace baton::engine_model
