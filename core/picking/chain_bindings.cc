#include "core/picking/chain_bindings.h"

#include <algorithm>
#include <span>
#include <utility>

namespace baton {
namespace {

constexpr std::size_t kEntryBytes = 64;  // a node of the table, with its share of the buckets
constexpr std::size_t kPromptBytes = 96;

std::uint64_t key_of(std::uint64_t space, std::uint64_t element) { return element ^ space; }

}  // namespace

ChainBindings::ChainBindings(Bytes memory)
    : bound_(static_cast<std::size_t>(std::max<std::int64_t>(memory.count(), 0)) / 2) {}

ChainBindings::PromptPtr ChainBindings::find(std::uint64_t key) {
  if (const auto young = young_.find(key); young != young_.end()) return young->second;
  const auto old = old_.find(key);
  if (old == old_.end()) return nullptr;
  PromptPtr prompt = old->second;
  put(key, prompt);
  return prompt;
}

void ChainBindings::put(std::uint64_t key, const PromptPtr& prompt) {
  if (young_bytes_ >= bound_) {
    old_ = std::exchange(young_, {});
    old_bytes_ = std::exchange(young_bytes_, 0);
    ++generation_;
  }
  if (std::exchange(prompt->charged_in, generation_) != generation_) {
    young_bytes_ += kPromptBytes + prompt->chain.size() * sizeof(std::uint64_t);
  }
  if (young_.insert_or_assign(key, prompt).second) young_bytes_ += kEntryBytes;
}

void ChainBindings::bind(std::uint64_t space, const PromptBlocks& exact) {
  if (exact.text_chain.empty() || exact.text_bytes == 0) return;
  auto prompt = std::make_shared<Prompt>();
  prompt->chain = exact.token_chain;
  prompt->text_bytes = exact.text_bytes;
  prompt->tokens = exact.prompt_tokens;
  prompt->block_tokens = exact.block_tokens;
  const std::scoped_lock lock(mutex_);
  for (const std::uint64_t element : exact.text_chain) put(key_of(space, element), prompt);
}

std::size_t ChainBindings::complete(std::uint64_t space, PromptBlocks& blocks,
                                    Tokens block_tokens) {
  std::size_t pieces = 0;
  PromptPtr longest;
  {
    const std::scoped_lock lock(mutex_);
    for (; pieces < blocks.text_chain.size(); ++pieces) {
      PromptPtr known = find(key_of(space, blocks.text_chain[pieces]));
      if (!known || known->block_tokens != block_tokens) break;
      longest = std::move(known);
    }
  }
  if (!longest || block_tokens.count() <= 0) return pieces;
  const std::size_t tokens = pieces * kTextPieceBytes *
                             static_cast<std::size_t>(longest->tokens.count()) /
                             longest->text_bytes;
  const std::size_t whole_blocks = tokens / static_cast<std::size_t>(block_tokens.count());
  const std::size_t sure = whole_blocks > 0 ? whole_blocks - 1 : 0;
  const auto chain = std::span(longest->chain).first(std::min(sure, longest->chain.size()));
  blocks.token_chain.assign(chain.begin(), chain.end());
  blocks.block_tokens = block_tokens;
  return pieces;
}

Bytes ChainBindings::memory_used() const {
  const std::scoped_lock lock(mutex_);
  return Bytes(static_cast<std::int64_t>(young_bytes_ + old_bytes_));
}

}  // namespace baton
