#include "core/picking/chain_bindings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace baton {
namespace {

constexpr std::uint64_t kSpace = 7;
constexpr Tokens kBlock{16};

// A text of `pieces` pieces, and half a piece.
std::string text_of(std::size_t pieces, char letter = 'a') {
  std::string text;
  for (std::size_t i = 0; i < pieces; ++i) {
    text += std::string(kTextPieceBytes, static_cast<char>(letter + static_cast<int>(i % 20)));
  }
  return text + std::string(kTextPieceBytes / 2, '.');
}

// With a token for each four bytes: a piece is four blocks.
PromptBlocks exact(const std::string& text) {
  PromptBlocks blocks = PromptBlocks::from_text(text, "", "");
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < text.size(); i += 4) ids.push_back(text[i]);
  const PromptBlocks tokens = PromptBlocks::from_tokens(ids, kBlock, "", "");
  blocks.token_chain = tokens.token_chain;
  blocks.block_tokens = kBlock;
  blocks.prompt_tokens = tokens.prompt_tokens;
  return blocks;
}

TEST(ChainBindings, APromptThatGoesOnGetsTheBlocksOfItsBeginning) {
  ChainBindings bindings(Bytes(1 << 20));
  const PromptBlocks first = exact(text_of(5));
  bindings.bind(kSpace, first);
  const PromptBlocks longer = exact(text_of(5).substr(0, 5 * kTextPieceBytes) + text_of(3, 'k'));
  PromptBlocks asked =
      PromptBlocks::from_text(text_of(5).substr(0, 5 * kTextPieceBytes) + text_of(3, 'k'), "", "");
  EXPECT_EQ(bindings.complete(kSpace, asked, kBlock), 5U);
  ASSERT_EQ(asked.token_chain.size(), 5U * 4 - 1);
  EXPECT_EQ(asked.block_tokens, kBlock);
  for (std::size_t i = 0; i < asked.token_chain.size(); ++i) {
    EXPECT_EQ(asked.token_chain[i], longer.token_chain[i]) << i;
  }
}

TEST(ChainBindings, APromptThatTurnsAwayGetsWhatItShares) {
  ChainBindings bindings(Bytes(1 << 20));
  const PromptBlocks first = exact(text_of(5));
  bindings.bind(kSpace, first);
  PromptBlocks asked =
      PromptBlocks::from_text(text_of(5).substr(0, 2 * kTextPieceBytes) + text_of(3, 'k'), "", "");
  EXPECT_EQ(bindings.complete(kSpace, asked, kBlock), 2U);
  EXPECT_EQ(asked.token_chain.size(), 2U * 4 - 1);
}

TEST(ChainBindings, KnowsNothingOfOtherTextsPoolsAndBlockSizes) {
  ChainBindings bindings(Bytes(1 << 20));
  bindings.bind(kSpace, exact(text_of(5)));
  PromptBlocks other = PromptBlocks::from_text(text_of(5, 'k'), "", "");
  EXPECT_EQ(bindings.complete(kSpace, other, kBlock), 0U);
  PromptBlocks same = PromptBlocks::from_text(text_of(5), "", "");
  EXPECT_EQ(bindings.complete(kSpace + 1, same, kBlock), 0U);
  EXPECT_EQ(bindings.complete(kSpace, same, Tokens(32)), 0U);
  EXPECT_TRUE(same.token_chain.empty());
  PromptBlocks salted = PromptBlocks::from_text(text_of(5), "pepper", "");
  EXPECT_EQ(bindings.complete(kSpace, salted, kBlock), 0U);
}

TEST(ChainBindings, ForgetsWhatIsNotUsedWithinItsBound) {
  constexpr Bytes kBound{64 << 10};
  ChainBindings bindings(kBound);
  const PromptBlocks kept = exact(text_of(5));
  bindings.bind(kSpace, kept);
  bindings.bind(kSpace, exact(text_of(5, 'A')));
  for (int i = 0; i < 1000; ++i) {
    bindings.bind(kSpace, exact("prompt " + std::to_string(i) + text_of(4)));
    PromptBlocks asked = PromptBlocks::from_text(text_of(5), "", "");
    ASSERT_EQ(bindings.complete(kSpace, asked, kBlock), 5U) << i;
    ASSERT_LE(bindings.memory_used(), kBound + Bytes(4096));
  }
  PromptBlocks unused = PromptBlocks::from_text(text_of(5, 'A'), "", "");
  EXPECT_EQ(bindings.complete(kSpace, unused, kBlock), 0U);
}

}  // namespace
}  // namespace baton
