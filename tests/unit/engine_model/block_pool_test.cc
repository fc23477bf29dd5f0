#include "core/engine_model/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "core/prompt_blocks.h"

namespace baton::engine_model {
namespace {

using Hashes = std::vector<std::uint64_t>;

// What one who hears only the events believes to be held.
class Listener final : public BlockEvents {
 public:
  void stored(const BlocksStored& blocks) override {
    EXPECT_EQ(static_cast<std::int64_t>(blocks.tokens.size()),
              static_cast<std::int64_t>(blocks.hashes.size()) * blocks.block_tokens.count());
    std::uint64_t before = blocks.parent ? *blocks.parent : chain_seed("", blocks.lora);
    const auto size = static_cast<std::size_t>(blocks.block_tokens.count());
    for (std::size_t i = 0; i < blocks.hashes.size(); ++i) {
      before = chain_next(before, blocks.tokens.subspan(i * size, size));
      EXPECT_EQ(before, blocks.hashes[i]) << "the tokens are not those of the hash";
      EXPECT_TRUE(held.insert(blocks.hashes[i]).second) << "stored twice";
    }
  }
  void removed(std::span<const std::uint64_t> hashes) override {
    for (const std::uint64_t hash : hashes) EXPECT_EQ(held.erase(hash), 1U);
  }
  void cleared() override { held.clear(); }
  std::set<std::uint64_t> held;
};

std::vector<TokenId> prompt(int seed, std::size_t tokens) {
  std::mt19937 rng(static_cast<unsigned>(seed));
  std::vector<TokenId> ids(tokens);
  for (TokenId& id : ids) id = static_cast<TokenId>(rng() % 100);
  return ids;
}

Hashes chain(const std::vector<TokenId>& ids) {
  return PromptBlocks::from_tokens(ids, Tokens(4), "", "").token_chain;
}

TEST(BlockPool, FindsWhatWasPublishedAndForgetsTheOldestEndFirst) {
  Listener listener;
  BlockPool pool(4, Tokens(4), &listener);
  const auto ids = prompt(1, 12);
  const Hashes hashes = chain(ids);
  const auto blocks = *pool.take({}, 3);
  EXPECT_EQ(pool.held_prefix(hashes), 0U);
  pool.publish(blocks, hashes, std::nullopt, ids, "");
  EXPECT_EQ(pool.held_prefix(hashes), 3U);
  pool.unpin(blocks);
  EXPECT_EQ(pool.free_blocks(), 4);
  EXPECT_EQ(pool.held_prefix(hashes), 3U);

  const auto others = *pool.take({}, 2);  // the empty block, then the end of the prompt
  EXPECT_EQ(pool.held_prefix(hashes), 2U);
  EXPECT_EQ(listener.held, (std::set<std::uint64_t>{hashes[0], hashes[1]}));
  EXPECT_EQ(pool.stats().evictions, 1);
  pool.unpin(others);
}

TEST(BlockPool, NeverEvictsWhatIsReferenced) {
  BlockPool pool(4, Tokens(4), nullptr);
  const auto ids = prompt(2, 8);
  const Hashes hashes = chain(ids);
  const auto blocks = *pool.take({}, 2);
  pool.publish(blocks, hashes, std::nullopt, ids, "");
  pool.pin(blocks);
  pool.unpin(blocks);
  EXPECT_FALSE(pool.take({}, 3).has_value());
  EXPECT_EQ(pool.free_blocks(), 2);
  EXPECT_EQ(*pool.take(hashes, 0), blocks) << "the same blocks again";
  EXPECT_FALSE(pool.clear());
  pool.unpin(blocks);
  pool.unpin(blocks);
  EXPECT_TRUE(pool.clear());
  EXPECT_EQ(pool.held_prefix(hashes), 0U);
}

TEST(BlockPool, KeepsTheFirstOfTwoBlocksWithTheSameTokens) {
  Listener listener;
  BlockPool pool(4, Tokens(4), &listener);
  const auto ids = prompt(3, 8);
  const Hashes hashes = chain(ids);
  const auto first = *pool.take({}, 2);
  const auto second = *pool.take({}, 2);
  pool.publish(first, hashes, std::nullopt, ids, "");
  pool.publish(second, hashes, std::nullopt, ids, "");
  pool.unpin(second);
  pool.unpin(first);
  EXPECT_EQ(*pool.take(hashes, 0), first);
}

// Against a model of the rules: what is referenced stays, what is held is what the events said, and
// every block is either free or referenced.
TEST(BlockPool, KeepsItsPromisesInAnyOrder) {
  std::mt19937 rng(4);
  Listener listener;
  BlockPool pool(32, Tokens(4), &listener);
  std::vector<std::vector<BlockId>> taken;
  for (int round = 0; round < 5000; ++round) {
    if (rng() % 2 == 0 || taken.empty()) {
      const auto ids = prompt(static_cast<int>(rng() % 12), 4 + 4 * (rng() % 8));
      const Hashes hashes = chain(ids);
      const std::size_t held = pool.held_prefix(hashes);
      auto blocks = pool.take(std::span(hashes).first(held), hashes.size() - held);
      if (!blocks) continue;
      const auto parent = held == 0 ? std::nullopt : std::optional(hashes[held - 1]);
      pool.publish(std::span(*blocks).subspan(held), std::span(hashes).subspan(held), parent,
                   std::span(ids).subspan(held * 4), "");
      EXPECT_EQ(pool.held_prefix(hashes), hashes.size());
      taken.push_back(std::move(*blocks));
    } else {
      std::swap(taken[rng() % taken.size()], taken.back());
      pool.unpin(taken.back());
      taken.pop_back();
    }
    std::set<BlockId> in_use;
    for (const auto& blocks : taken) in_use.insert(blocks.begin(), blocks.end());
    ASSERT_EQ(pool.used_blocks(), static_cast<std::int32_t>(in_use.size()));
    ASSERT_EQ(pool.cached_blocks(), listener.held.size());
  }
}

}  // namespace
}  // namespace baton::engine_model
