#include "core/prompt_blocks.h"

#include <xxhash.h>

#include <string>

namespace baton {
namespace {

std::uint64_t hash_after(std::uint64_t previous, const void* bytes, std::size_t size) {
  return XXH3_64bits_withSeed(bytes, size, previous);
}

}  // namespace

std::uint64_t chain_seed(std::string_view salt, std::string_view lora) {
  // Hashed one after the other, so that "ab" and "c" differ from "a" and "bc".
  return hash_after(hash_after(0, salt.data(), salt.size()), lora.data(), lora.size());
}

std::uint64_t chain_next(std::uint64_t previous, std::span<const TokenId> block) {
  return hash_after(previous, block.data(), block.size_bytes());
}

PromptBlocks PromptBlocks::from_text(std::string_view text, std::string_view salt,
                                     std::string_view lora) {
  PromptBlocks blocks;
  blocks.text_bytes = text.size();
  blocks.text_chain.reserve(text.size() / kTextPieceBytes);
  std::uint64_t last = chain_seed(salt, lora);
  for (; text.size() >= kTextPieceBytes; text.remove_prefix(kTextPieceBytes)) {
    last = hash_after(last, text.data(), kTextPieceBytes);
    blocks.text_chain.push_back(last);
  }
  return blocks;
}

PromptBlocks PromptBlocks::from_tokens(std::span<const TokenId> ids, Tokens block_tokens,
                                       std::string_view salt, std::string_view lora) {
  PromptBlocks blocks;
  blocks.block_tokens = block_tokens;
  blocks.prompt_tokens = Tokens(static_cast<std::int64_t>(ids.size()));
  if (block_tokens.count() <= 0) return blocks;
  const auto size = static_cast<std::size_t>(block_tokens.count());
  blocks.token_chain.reserve(ids.size() / size);
  std::uint64_t last = chain_seed(salt, lora);
  for (; ids.size() >= size; ids = ids.subspan(size)) {
    last = chain_next(last, ids.first(size));
    blocks.token_chain.push_back(last);
  }
  return blocks;
}

}  // namespace baton
