#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/picking/prefix_index.h"
#include "core/picking/prefix_match.h"
#include "core/prompt_blocks.h"
#include "core/units.h"

namespace baton {

// A chain by which prefixes are matched and indexed, and the prompt tokens that an element of it
// stands for; a fraction for pieces of text.
struct PrefixChain {
  std::span<const std::uint64_t> elements;
  double tokens_each = 0.0;
};
// The text's and the tokens'. Either may be empty, and that of the tokens end before the prompt.
[[nodiscard]] std::array<PrefixChain, 2> prefix_chains(const PromptBlocks& blocks, Tokens prompt);

// How much of one prompt each pod holds. Owned by whoever picks and used for one prompt after
// another, so that it allocates nothing; one thread at a time.
class PromptHolders {
 public:
  // Of this prompt from now on. The index has to outlive what is asked of it.
  void find(const PromptBlocks& blocks, Tokens prompt, const PrefixIndex& index, TimePoint now);

  // Prompt tokens that the pod (PodEntry::index) is believed to hold, by the chain that says more;
  // at most prompt − 1: the last prompt token is always computed.
  [[nodiscard]] Tokens held_by(std::uint32_t pod) const {
    double held = 0.0;
    for (std::size_t i = 0; i < used_; ++i) {
      const Chain& chain = chains_[i];
      held = std::max(held, index_->depth(pod, chain.match) * chain.tokens_each);
    }
    return Tokens(std::min(static_cast<std::int64_t>(held), most_));
  }

 private:
  struct Chain {
    PrefixMatch match;
    double tokens_each = 0.0;
  };
  const PrefixIndex* index_ = nullptr;
  std::array<Chain, 2> chains_;
  std::size_t used_ = 0;  // of chains_
  std::int64_t most_ = 0;
};

}  // namespace baton
