#include "kv_transfer/piece_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>

namespace baton::kv {
namespace {

using testing::ElementsAre;

class PieceQueueTest : public testing::Test {
 protected:
  void add(std::uint64_t transfer, int pieces, FetchTerms terms = {}) {
    terms.transfer = {0, transfer};
    std::vector<BlockRead> reads;
    for (int i = 0; i < pieces; ++i) {
      reads.push_back({.index = next_[transfer]++, .remote = {}, .into = place_});
    }
    queue_.add(terms, std::move(reads), [](std::uint32_t, const Result<void>&) {});
  }
  // Which transfers have the next turns.
  std::vector<std::uint64_t> turns(int count, std::size_t pieces = 4) {
    std::vector<std::uint64_t> order;
    for (int i = 0; i < count; ++i) {
      const auto taken = queue_.take(pieces, SIZE_MAX);
      if (taken.empty()) break;
      order.push_back(taken.front().order->terms.transfer.low());
    }
    return order;
  }

  std::array<std::byte, 100> place_{};
  std::map<std::uint64_t, std::uint32_t> next_;
  PieceQueue queue_;
};

TEST_F(PieceQueueTest, TransfersTakeTurns) {
  add(1, 100);
  add(2, 4);
  add(3, 8);
  // Every other turn is the first deadline's, which all have alike here, so the first in the
  // ring's.
  const auto order = turns(6);
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 1, 3, 1));
}

TEST_F(PieceQueueTest, ASmallTransferIsNotStuckBehindALargeOne) {
  add(1, 65536);
  (void)turns(10, 64);
  add(2, 128);
  const auto order = turns(5, 64);
  EXPECT_EQ(std::ranges::count(order, 2U), 2) << "both turns that it needs, within five";
}

TEST_F(PieceQueueTest, AnEarlyDeadlineHasEveryOtherTurnAndTheRestGoRound) {
  const TimePoint now = Clock::now();
  for (const std::uint64_t id : {1, 2, 3}) {
    add(id, 1000, {.deadline = now + std::chrono::seconds(id == 2 ? 1 : 60)});
  }
  std::map<std::uint64_t, int> share;
  for (const std::uint64_t id : turns(120)) ++share[id];
  EXPECT_GE(share[2], 60);
  EXPECT_GE(share[1], 20);
  EXPECT_GE(share[3], 20);
}

TEST_F(PieceQueueTest, ALargerPriorityComesFirst) {
  add(1, 8);
  add(2, 8, {.priority = 1});
  add(3, 4, {.priority = -1});
  EXPECT_THAT(turns(10), ElementsAre(2, 2, 1, 1, 3));
}

TEST_F(PieceQueueTest, ATurnEndsWithItsBytesOrPieces) {
  add(1, 100);
  EXPECT_EQ(queue_.take(64, 1).size(), 1U);
  EXPECT_EQ(queue_.take(64, 250).size(), 3U);
  EXPECT_EQ(queue_.take(64, SIZE_MAX).size(), 64U);
  EXPECT_EQ(queue_.size(), 32U);
  EXPECT_EQ(queue_.take_all().size(), 32U);
  EXPECT_TRUE(queue_.empty());
  EXPECT_TRUE(queue_.take(64, SIZE_MAX).empty());
}

TEST_F(PieceQueueTest, EveryPieceIsTakenOnceAndInItsTransfersOrder) {
  std::mt19937_64 rng(5);
  std::map<std::uint64_t, std::uint32_t> seen;
  std::size_t taken = 0;
  std::size_t added = 0;
  const auto take = [&](std::size_t most) {
    for (const Piece& piece : queue_.take(most, rng() % 2000)) {
      ASSERT_EQ(piece.read->index, seen[piece.order->terms.transfer.low()]++);
      ++taken;
    }
  };
  for (int i = 0; i < 2000; ++i) {
    const int pieces = static_cast<int>(rng() % 20);
    add(rng() % 7, pieces, {.deadline = TimePoint(std::chrono::seconds(rng() % 5))});
    added += static_cast<std::size_t>(pieces);
    take(rng() % 30);
  }
  while (!queue_.empty()) take(1 + rng() % 30);
  EXPECT_EQ(taken, added);
}

}  // namespace
}  // namespace baton::kv
