#include "adapters/engines/llama_cpp/block_cache.h"

#include <gtest/gtest.h>

#include <vector>

namespace baton::adapters {
namespace {

class BlockCacheTest : public testing::Test {
 protected:
  std::unique_ptr<kv::BlockArena> arena = *kv::BlockArena::create(Bytes(4096), 4);
  BlockCache cache{*arena};

  void add(std::uint64_t hash) {
    const auto slot = cache.allocate();
    ASSERT_TRUE(slot.has_value());
    cache.insert(hash, {.slot = *slot, .bytes = 1, .checksum = hash, .tokens = 64});
  }
};

TEST_F(BlockCacheTest, FindsWhatWasInserted) {
  add(7);
  ASSERT_NE(cache.find(7), nullptr);
  EXPECT_EQ(cache.find(7)->checksum, 7U);
  EXPECT_EQ(cache.find(8), nullptr);
}

TEST_F(BlockCacheTest, EvictsTheLeastRecentlyUsed) {
  for (std::uint64_t hash = 1; hash <= 4; ++hash) add(hash);
  cache.touch(std::vector<std::uint64_t>{1});
  add(5);
  EXPECT_NE(cache.find(1), nullptr);
  EXPECT_EQ(cache.find(2), nullptr);
  EXPECT_EQ(arena->counts().used, 4);
}

TEST_F(BlockCacheTest, AChainLosesItsEndFirst) {
  const std::vector<std::uint64_t> chain = {1, 2, 3, 4};
  for (const std::uint64_t hash : chain) add(hash);
  cache.touch(chain);
  add(9);
  add(10);
  EXPECT_NE(cache.find(1), nullptr);
  EXPECT_NE(cache.find(2), nullptr);
  EXPECT_EQ(cache.find(3), nullptr);
  EXPECT_EQ(cache.find(4), nullptr);
}

TEST_F(BlockCacheTest, ASecondCopyGivesItsSlotBack) {
  add(1);
  add(1);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(arena->counts().used, 1);
}

TEST_F(BlockCacheTest, NothingToAllocateWhileEverySlotIsPinned) {
  for (std::uint64_t hash = 1; hash <= 4; ++hash) {
    add(hash);
    ASSERT_TRUE(arena->pin(cache.find(hash)->slot));
  }
  EXPECT_FALSE(cache.allocate().has_value());
  EXPECT_EQ(cache.size(), 4U) << "evicting would not have helped";
  arena->unpin(cache.find(1)->slot);
  EXPECT_TRUE(cache.allocate().has_value());
}

}  // namespace
}  // namespace baton::adapters
