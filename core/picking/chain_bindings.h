#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/prompt_blocks.h"
#include "core/units.h"

namespace baton {

// Which token chain a text begins with, learned from prompts whose ids became known: engines' KV
// events name token blocks, and most prompts come as text. A prompt that begins with pieces of a
// known one gets that one's token blocks for them; how many is in proportion to the text, as
// nobody knows which token a byte belongs to, and the last is left out. Shared by all threads, a
// lock is held for a look-up. Bounded by `memory`, about: what was used longest ago goes first.
class ChainBindings {
 public:
  explicit ChainBindings(Bytes memory);

  // `exact` has both chains of one prompt and its number of tokens. `space` keeps pools apart: a
  // text's ids are those of a model.
  void bind(std::uint64_t space, const PromptBlocks& exact);

  // Gives `blocks`, which have a text chain alone, a token chain as far as it is known, in blocks
  // of `block_tokens`. Returns the number of text pieces that were known.
  std::size_t complete(std::uint64_t space, PromptBlocks& blocks, Tokens block_tokens);

  [[nodiscard]] Bytes memory_used() const;

 private:
  struct Prompt {
    std::vector<std::uint64_t> chain;
    std::size_t text_bytes = 0;
    Tokens tokens{0};
    Tokens block_tokens{0};
    std::uint64_t charged_in = 0;  // the generation that counts its chain
  };
  using PromptPtr = std::shared_ptr<Prompt>;
  using Table = std::unordered_map<std::uint64_t, PromptPtr>;  // by text element

  PromptPtr find(std::uint64_t key);
  void put(std::uint64_t key, const PromptPtr& prompt);

  const std::size_t bound_;  // bytes of one generation
  mutable std::mutex mutex_;
  Table young_;
  Table old_;  // what was not used since the last change of generations goes with the next
  std::uint64_t generation_ = 1;
  std::size_t young_bytes_ = 0;
  std::size_t old_bytes_ = 0;
};

}  // namespace baton
