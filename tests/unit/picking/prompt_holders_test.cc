#include "core/picking/prompt_holders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/picking/test_pool.h"

namespace baton {
namespace {

using testing::ElementsAre;

// A text prompt of 4,096 bytes and 1,024 tokens, whose first 512 are known in blocks of 64.
TEST(PromptHolders, GoByTheChainThatSaysMore) {
  TestPool pool;
  PromptBlocks blocks = prompt_of(512);
  blocks.text_chain = PromptBlocks::from_text(std::string(4096, 'x'), "", "").text_chain;
  blocks.text_bytes = 4096;
  const std::span<const std::uint64_t> text = blocks.text_chain;
  const std::span<const std::uint64_t> tokens = blocks.token_chain;
  pool.prefixes.confirm(text.first(2), 0, pool.now);  // 128 tokens
  pool.prefixes.confirm(tokens.first(3), 0, pool.now);
  pool.prefixes.confirm(text.first(4), 1, pool.now);  // 256
  pool.prefixes.confirm(tokens.first(3), 1, pool.now);
  pool.prefixes.confirm(text, 2, pool.now);
  PromptHolders holders;
  holders.find(blocks, Tokens(1024), pool.prefixes, pool.now);
  std::vector<Tokens> held;
  for (const std::uint32_t pod : {0, 1, 2, 3}) held.push_back(holders.held_by(pod));
  EXPECT_THAT(held, ElementsAre(Tokens(192), Tokens(256), Tokens(1023), Tokens(0)));
}

}  // namespace
}  // namespace baton
