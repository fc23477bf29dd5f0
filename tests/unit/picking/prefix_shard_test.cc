#include "core/picking/prefix_shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/zeroed_words.h"

namespace baton {
namespace {

constexpr std::uint32_t kPods = 400;
constexpr std::uint64_t kHash = 7;

class PrefixShardTest : public testing::Test {
 protected:
  PrefixShardTest() {
    shard_.use({memory_.begin(), kWords});
    for (std::uint32_t pod = 0; pod < kPods; ++pod) incarnations_.give(pod);
  }
  void hold(std::uint64_t hash, std::uint32_t pod) {
    shard_.hold(hash, pod, PrefixShard::kConfirmed, 1, 0, incarnations_);
  }
  void retract(std::uint64_t hash, std::uint32_t pod) {
    shard_.retract(hash, incarnations_.of(pod));
  }

  static constexpr std::size_t kWords = 4096;
  ZeroedWords memory_{kWords};
  Incarnations incarnations_;
  PrefixShard shard_;
};

TEST_F(PrefixShardTest, ReadsAgainWhatAWriterChangedMeanwhile) {
  hold(kHash, 0);
  std::vector<std::size_t> counts;
  const std::size_t slot = shard_.read(kHash, [&](const PrefixShard::Holders& holders) {
    if (counts.size() < 3) hold(kHash, 100 * static_cast<std::uint32_t>(counts.size() + 1));
    counts.push_back(holders.count());
  });
  EXPECT_NE(slot, PrefixShard::kNowhere);
  EXPECT_THAT(counts, testing::ElementsAre(1, 2, 3, 4));
}

TEST_F(PrefixShardTest, FollowsAnElementThatMoves) {
  // All at one home, so that the last is at the end of the row until those before it go.
  for (std::uint64_t i = 0; i < 5; ++i) hold(kHash + (i << 32), 0);
  constexpr std::uint64_t kLast = kHash + (4ULL << 32);
  int reads = 0;
  const auto use = [&](const PrefixShard::Holders&) {
    if (reads++ == 0) retract(kHash, 0);
  };
  const std::size_t slot = shard_.read(kLast, use);
  EXPECT_EQ(reads, 2);
  EXPECT_EQ(slot, shard_.read(kLast, [](const PrefixShard::Holders&) {}));
  retract(kLast, 0);
  EXPECT_EQ(shard_.read(kLast, use), PrefixShard::kNowhere);
  EXPECT_EQ(reads, 2);
}

TEST_F(PrefixShardTest, WaitsForAWriterThatDoesNotRest) {
  hold(kHash, 0);
  hold(kHash, 100);
  int reads = 0;
  const std::size_t slot = shard_.read(kHash, [&](const PrefixShard::Holders&) {
    if (++reads > PrefixShard::kTries) return;  // with the lock, under which nobody writes
    retract(kHash, reads % 2 == 0 ? 0 : 100);
    hold(kHash, reads % 2 == 0 ? 0 : 100);
  });
  EXPECT_NE(slot, PrefixShard::kNowhere);
  EXPECT_EQ(reads, PrefixShard::kTries + 1);
}

TEST_F(PrefixShardTest, AChangeOfOneBitDisturbsNobody) {
  hold(kHash, 0);
  int reads = 0;
  shard_.read(kHash,
              [&](const PrefixShard::Holders&) { hold(kHash, static_cast<unsigned>(++reads)); });
  EXPECT_EQ(reads, 1);
}

}  // namespace
}  // namespace baton
