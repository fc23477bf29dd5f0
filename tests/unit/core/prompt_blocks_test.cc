#include "core/prompt_blocks.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace baton {
namespace {

std::vector<TokenId> ids_up_to(int count) {
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(PromptBlocks, HoldsFullPiecesOnly) {
  EXPECT_TRUE(PromptBlocks::from_text(std::string(255, 'a'), "", "").text_chain.empty());
  const auto blocks = PromptBlocks::from_text(std::string(513, 'a'), "", "");
  EXPECT_EQ(blocks.text_chain.size(), 2U);
  EXPECT_NE(blocks.text_chain[0], blocks.text_chain[1]);
  EXPECT_EQ(blocks.text_bytes, 513U);
  EXPECT_EQ(blocks.prompt_tokens, Tokens(0));
}

TEST(PromptBlocks, ChainsTokensBlockByBlock) {
  const auto ids = ids_up_to(130);
  const auto blocks = PromptBlocks::from_tokens(ids, Tokens(64), "salt", "lora");
  ASSERT_EQ(blocks.token_chain.size(), 2U);
  EXPECT_EQ(blocks.prompt_tokens, Tokens(130));
  EXPECT_EQ(blocks.block_tokens, Tokens(64));
  const std::span<const TokenId> all(ids);
  const std::uint64_t first = chain_next(chain_seed("salt", "lora"), all.first(64));
  EXPECT_EQ(blocks.token_chain[0], first);
  EXPECT_EQ(blocks.token_chain[1], chain_next(first, all.subspan(64, 64)));
}

TEST(PromptBlocks, AnElementStandsForEverythingBeforeIt) {
  auto ids = ids_up_to(192);
  const auto before = PromptBlocks::from_tokens(ids, Tokens(64), "", "");
  ids[70] = 9999;
  const auto after = PromptBlocks::from_tokens(ids, Tokens(64), "", "");
  EXPECT_EQ(before.token_chain[0], after.token_chain[0]);
  EXPECT_NE(before.token_chain[1], after.token_chain[1]);
  EXPECT_NE(before.token_chain[2], after.token_chain[2]);
}

TEST(PromptBlocks, TenantsAndAdaptersShareNothing) {
  const std::string text(256, 'a');
  const auto first = [&](std::string_view salt, std::string_view lora) {
    return PromptBlocks::from_text(text, salt, lora).text_chain.at(0);
  };
  EXPECT_EQ(first("a", "b"), first("a", "b"));
  EXPECT_NE(first("", ""), first("a", ""));
  EXPECT_NE(first("a", ""), first("", "a"));
  EXPECT_NE(first("ab", "c"), first("a", "bc"));
}

TEST(PromptBlocks, WithoutABlockSizeThereIsNoTokenChain) {
  const auto blocks = PromptBlocks::from_tokens(ids_up_to(10), Tokens(0), "", "");
  EXPECT_TRUE(blocks.token_chain.empty());
  EXPECT_EQ(blocks.prompt_tokens, Tokens(10));
}

}  // namespace
}  // namespace baton
