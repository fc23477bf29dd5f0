#include "core/picking/prompt_holders.h"

#include <algorithm>

namespace baton {

std::array<PrefixChain, 2> prefix_chains(const PromptBlocks& blocks, Tokens prompt) {
  const double tokens_of_piece = blocks.text_bytes == 0
                                     ? 0.0
                                     : static_cast<double>(prompt.count()) * kTextPieceBytes /
                                           static_cast<double>(blocks.text_bytes);
  return {{{blocks.text_chain, tokens_of_piece},
           {blocks.token_chain, static_cast<double>(blocks.block_tokens.count())}}};
}

void PromptHolders::find(const PromptBlocks& blocks, Tokens prompt, const PrefixIndex& index,
                         TimePoint now) {
  index_ = &index;
  most_ = std::max<std::int64_t>(prompt.count() - 1, 0);
  used_ = 0;
  for (const PrefixChain& chain : prefix_chains(blocks, prompt)) {
    if (chain.elements.empty()) continue;
    Chain& used = chains_[used_++];
    used.tokens_each = chain.tokens_each;
    index.follow(chain.elements, now, used.match);
  }
}

}  // namespace baton
