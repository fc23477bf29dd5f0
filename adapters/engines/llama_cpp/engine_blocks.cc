#include <algorithm>

#include "adapters/engines/llama_cpp/engine_impl.h"
#include "core/log.h"
#include "core/prompt_blocks.h"

namespace baton::adapters {

// Hashes of the blocks that the first `tokens` tokens fill.
void EngineImpl::extend_chain(Sequence& sequence, int tokens) const {
  const auto block = static_cast<std::size_t>(block_);
  while ((sequence.chain.size() + 1) * block <= static_cast<std::size_t>(tokens)) {
    const std::span<const TokenId> ids(sequence.tokens);
    sequence.chain.push_back(
        chain_next(sequence.chain.empty() ? sequence.seed : sequence.chain.back(),
                   ids.subspan(sequence.chain.size() * block, block)));
  }
}

// Names the part of the prompt after its last full block, which only an equal prompt shares.
std::uint64_t EngineImpl::hash_of_tail(const Sequence& sequence) const {
  const auto blocks = static_cast<std::size_t>(sequence.prefill_end() / block_);
  const auto begin = blocks * static_cast<std::size_t>(block_);
  const auto count = static_cast<std::size_t>(sequence.prefill_end()) - begin;
  const std::span<const TokenId> ids(sequence.tokens);
  return chain_next(blocks == 0 ? sequence.seed : sequence.chain[blocks - 1],
                    ids.subspan(begin, count));
}

// The leading blocks of prompt tokens [0, prompt - 1) that are stored here, the tail among them
// only after all others.
std::vector<std::uint64_t> EngineImpl::held_prefix(Sequence& sequence) const {
  if (!runtime_.can_move_ranges()) return {};
  extend_chain(sequence, sequence.prefill_end());
  std::vector<std::uint64_t> held;
  for (const std::uint64_t hash : sequence.chain) {
    if (blocks_.find(hash) == nullptr) return held;
    held.push_back(hash);
  }
  if (sequence.prefill_end() % block_ != 0) {
    const std::uint64_t tail = hash_of_tail(sequence);
    if (blocks_.find(tail) != nullptr) held.push_back(tail);
  }
  return held;
}

// Puts stored blocks into the sequence's cells. If the context does not take one, the prompt is
// computed from its beginning.
void EngineImpl::import_held(Sequence& sequence, std::span<const std::uint64_t> hashes) {
  for (const std::uint64_t hash : hashes) {
    const StoredBlock& block = *blocks_.find(hash);
    if (!runtime_.import_range(sequence.slot, sequence.computed, block.tokens,
                               arena_.bytes(block.slot).first(block.bytes))) {
      log(LogLevel::kError, "stored block refused by libllama",
          {{"request", sequence.id}, {"first_token", sequence.computed}});
      runtime_.drop(sequence.slot);
      sequence.computed = 0;
      sequence.stored = 0;
      return;
    }
    sequence.computed += block.tokens;
    if (block.tokens == block_) ++sequence.stored;
  }
}

// Exports tokens [first, first + count), unless they are stored already; `ahead` as in
// LlamaRuntime::export_range(). Errors: kUnavailable where every slot is pinned, kInternal where
// the context no longer has them.
Result<StoredBlock> EngineImpl::store_range(const Sequence& sequence, int first, int count,
                                            int ahead, std::uint64_t hash) {
  if (const StoredBlock* held = blocks_.find(hash)) return *held;
  const std::optional<kv::SlotRef> slot = blocks_.allocate();
  if (!slot) {
    return fail(ErrorCode::kUnavailable, Stage::kPrefill, "every slot of the block store is in use",
                true);
  }
  const std::span<std::byte> bytes = arena_.bytes(*slot);
  const std::size_t size = runtime_.export_range(sequence.slot, first, count, ahead, bytes);
  if (size == 0) {
    arena_.free(*slot);
    return fail(ErrorCode::kInternal, Stage::kPrefill,
                "the KV cache no longer holds a block of the prompt", true);
  }
  const StoredBlock block{.slot = *slot,
                          .bytes = static_cast<std::uint32_t>(size),
                          .checksum = kv::checksum_of(bytes.first(size)),
                          .tokens = count};
  blocks_.insert(hash, block);
  return block;
}

// Stores up to `limit` finished blocks of the sequence.
void EngineImpl::store_blocks(Sequence& sequence, int limit) {
  if (!runtime_.can_move_ranges()) return;
  if (options_.keep_generated) extend_chain(sequence, sequence.computed);
  for (; limit > 0 && sequence.stored < static_cast<int>(sequence.chain.size()); --limit) {
    const auto index = static_cast<std::size_t>(sequence.stored);
    const int left = static_cast<int>(sequence.chain.size()) - sequence.stored;
    if (!store_range(sequence, sequence.stored * block_, block_, std::min(limit, left) * block_,
                     sequence.chain[index])) {
      return;
    }
    ++sequence.stored;
  }
}

}  // namespace baton::adapters
