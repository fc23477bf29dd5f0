#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/tokenizer.h"
#include "core/units.h"

namespace baton {

inline constexpr std::size_t kTextPieceBytes = 256;

// A prompt as two chains of 64-bit hashes, in which an element stands for everything before it too:
// text pieces of 256 bytes (always there) and token blocks of the pool's block size (where ids are
// known). Both start from the tenant salt and the LoRA name, so prompts of different tenants or
// adapters share nothing. The last piece or block of a chain is always a full one.
struct PromptBlocks {
  std::vector<std::uint64_t> text_chain;
  std::vector<std::uint64_t> token_chain;
  Tokens block_tokens{0};  // tokens per element of token_chain
  std::size_t text_bytes = 0;
  Tokens prompt_tokens{0};  // exact where ids are known, else 0

  [[nodiscard]] static PromptBlocks from_text(std::string_view text, std::string_view salt,
                                              std::string_view lora);
  [[nodiscard]] static PromptBlocks from_tokens(std::span<const TokenId> ids, Tokens block_tokens,
                                                std::string_view salt, std::string_view lora);
};

// The seed of both chains.
[[nodiscard]] std::uint64_t chain_seed(std::string_view salt, std::string_view lora);
// The element after `previous` for one block of ids.
[[nodiscard]] std::uint64_t chain_next(std::uint64_t previous, std::span<const TokenId> block);

}  // namespace baton
