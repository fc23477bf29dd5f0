#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/tokenizer.h"

namespace baton {

// What an engine tells of its prefix cache (its KV events), as far as routing needs it. Engines
// name blocks by hashes of their own; only equality of these counts. A hash that is a byte string
// stands here as its last 8 bytes, big-endian: vLLM's integers are those same bytes
// (v1/core/kv_cache_utils.py, maybe_convert_block_hash).

// Blocks that can be reused from now on, each the continuation of the one before.
struct KvBlocksStored {
  static constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

  std::vector<std::uint64_t> blocks;
  std::optional<std::uint64_t> parent;  // of the first block; none: it begins a prompt
  std::vector<TokenId> tokens;          // of all blocks, one after another
  std::uint64_t block_tokens = 0;
  bool is_resident = true;  // in the pod's own GPU memory, from where a hit costs nothing
  std::string lora;         // adapter's name; empty: the base model
  std::string salt;         // the request's cache_salt, told where a prompt begins
  // Leading blocks that tokens, adapter and salt determine. What follows depends on something else
  // (an image, an embedding, an adapter without a name).
  std::size_t plain_blocks = kAll;
  std::uint32_t group = 0;  // of layers that share a block table (vLLM's hybrid models)
};

// Blocks that are gone from where `is_resident` says.
struct KvBlocksRemoved {
  std::vector<std::uint64_t> blocks;
  bool is_resident = true;
  std::optional<std::uint32_t> group;  // none: of all groups
};

// Nothing is held any more.
struct KvBlocksCleared {};

using KvEvent = std::variant<KvBlocksStored, KvBlocksRemoved, KvBlocksCleared>;

}  // namespace baton
