#include "kv_transfer/lease_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::kv {
namespace {

using Kind = LeaseAction::Kind;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr TransferId kId{1, 2};
constexpr TimePoint kStart{};
const Error kBroken{ErrorCode::kUpstream, Stage::kPrefill, "the engine stopped", true};

std::vector<BlockDescriptor> blocks(int count, int from = 0) {
  std::vector<BlockDescriptor> out;
  for (int i = from; i < from + count; ++i) {
    out.push_back({.first_token = i * 64,
                   .token_count = 64,
                   .slot = {static_cast<std::uint32_t>(i), 1},
                   .bytes = 100});
  }
  return out;
}

std::vector<Kind> kinds(const LeaseTable::Actions& actions) {
  std::vector<Kind> out;
  for (const LeaseAction& action : actions) out.push_back(action.kind);
  return out;
}

class LeaseTableTest : public testing::Test {
 protected:
  void opened(int published = 0) {
    EXPECT_THAT(table_.open(kId, {.prompt_tokens = 100, .cached_tokens = 10}, kStart), IsEmpty());
    if (published > 0) (void)table_.publish(kId, blocks(published));
  }
  LeaseState state() { return table_.state(kId).value(); }

  LeaseTable table_{LeaseTable::Options{}};
};

TEST_F(LeaseTableTest, AnAcknowledgedLeaseIsCommittedAndGivesBackItsPins) {
  opened(2);
  auto actions = table_.follow(kId, 7, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kPublish));
  EXPECT_EQ(actions[0].blocks.size(), 2u);
  actions = table_.publish(kId, blocks(1, 2));
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kOffer, Kind::kPublish));
  EXPECT_EQ(actions[1].first_index, 2u);
  actions = table_.seal(kId, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kSeal));
  EXPECT_EQ(actions[0].total_blocks, 3u);
  EXPECT_EQ(actions[0].terms.cached_tokens, 10);
  actions = table_.acknowledge(kId, 7, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kWithdraw, Kind::kClose, Kind::kUnpin, Kind::kEnd));
  EXPECT_EQ(actions[2].blocks.size(), 3u);
  EXPECT_EQ(state(), LeaseState::kCommitted);
  EXPECT_EQ(table_.open_leases(), 0u);
}

TEST_F(LeaseTableTest, EveryTransitionIsIdempotent) {
  opened(1);
  opened();
  EXPECT_EQ(state(), LeaseState::kStreaming);
  (void)table_.seal(kId, kStart);
  EXPECT_THAT(table_.seal(kId, kStart), IsEmpty());
  EXPECT_THAT(kinds(table_.release(kId, kStart)),
              ElementsAre(Kind::kWithdraw, Kind::kUnpin, Kind::kEnd));
  EXPECT_THAT(table_.release(kId, kStart), IsEmpty());
  EXPECT_THAT(table_.abort(kId, kBroken, kStart), IsEmpty());
  EXPECT_THAT(table_.acknowledge(kId, 7, kStart), IsEmpty());
  EXPECT_THAT(table_.lost(kId, 7, kStart), IsEmpty());
  opened();
  EXPECT_EQ(state(), LeaseState::kCommitted);
}

TEST_F(LeaseTableTest, AReaderThatComesFirstWaitsForTheProducer) {
  EXPECT_THAT(table_.follow(kId, 7, kStart), IsEmpty());
  EXPECT_EQ(state(), LeaseState::kReserved);
  opened();
  EXPECT_EQ(state(), LeaseState::kStreaming);
  EXPECT_THAT(kinds(table_.publish(kId, blocks(1))), ElementsAre(Kind::kOffer, Kind::kPublish));
}

TEST_F(LeaseTableTest, AReaderWaitsForTheProducerOnlySoLong) {
  (void)table_.follow(kId, 7, kStart);
  EXPECT_THAT(table_.expire(kStart + seconds(29)), IsEmpty());
  const auto actions = table_.expire(kStart + seconds(30));
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kAbort, Kind::kClose));
  EXPECT_EQ(actions[0].reason.code, ErrorCode::kTimeout);
  EXPECT_EQ(table_.open_leases(), 0u);
  opened();  // late, but it does open
  EXPECT_EQ(state(), LeaseState::kStreaming);
}

TEST_F(LeaseTableTest, BlocksOfALeaseThatDoesNotTakeThemAreUnpinnedAtOnce) {
  EXPECT_THAT(kinds(table_.publish(kId, blocks(1))), ElementsAre(Kind::kUnpin));
  opened();
  (void)table_.seal(kId, kStart);
  EXPECT_THAT(kinds(table_.publish(kId, blocks(1))), ElementsAre(Kind::kUnpin));
}

TEST_F(LeaseTableTest, AnAbortWaitsInQuarantineForItsReader) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  const auto actions = table_.abort(kId, kBroken, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kWithdraw, Kind::kAbort));
  EXPECT_EQ(actions[1].reason.message, kBroken.message);
  EXPECT_EQ(state(), LeaseState::kAborting);
  (void)table_.told(kId, 7);
  EXPECT_EQ(state(), LeaseState::kQuarantined);
  EXPECT_THAT(kinds(table_.lost(kId, 7, kStart)),
              ElementsAre(Kind::kWithdraw, Kind::kUnpin, Kind::kEnd));
  EXPECT_EQ(state(), LeaseState::kFreed);
}

TEST_F(LeaseTableTest, TheQuarantineHasAnEnd) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  (void)table_.abort(kId, kBroken, kStart);
  EXPECT_THAT(table_.expire(kStart + seconds(2)), IsEmpty());
  EXPECT_THAT(kinds(table_.expire(kStart + seconds(3))),
              ElementsAre(Kind::kWithdraw, Kind::kClose, Kind::kUnpin, Kind::kEnd));
  EXPECT_EQ(state(), LeaseState::kFreed);
}

TEST_F(LeaseTableTest, AnAbortWithoutAReaderFreesAtOnce) {
  opened(1);
  EXPECT_THAT(kinds(table_.abort(kId, kBroken, kStart)),
              ElementsAre(Kind::kWithdraw, Kind::kUnpin, Kind::kEnd));
  EXPECT_EQ(state(), LeaseState::kFreed);
}

TEST_F(LeaseTableTest, ASealedLeaseWithoutAReaderLivesForItsTime) {
  opened(1);
  EXPECT_THAT(table_.expire(kStart + seconds(3600)), IsEmpty());  // prefill may take long
  (void)table_.seal(kId, kStart);
  EXPECT_THAT(table_.expire(kStart + seconds(9)), IsEmpty());
  (void)table_.follow(kId, 7, kStart + seconds(9));
  EXPECT_THAT(table_.expire(kStart + seconds(60)), IsEmpty());  // a reader is there
  (void)table_.lost(kId, 7, kStart + seconds(60));
  EXPECT_THAT(table_.expire(kStart + seconds(69)), IsEmpty());
  EXPECT_THAT(kinds(table_.expire(kStart + seconds(70))),
              ElementsAre(Kind::kWithdraw, Kind::kUnpin, Kind::kEnd));
}

TEST_F(LeaseTableTest, ASecondReaderGetsEverythingAfterTheFirstFailed) {
  opened(3);
  (void)table_.follow(kId, 7, kStart);
  (void)table_.seal(kId, kStart);
  (void)table_.lost(kId, 7, kStart);
  const auto actions = table_.follow(kId, 8, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kPublish, Kind::kSeal));
  EXPECT_EQ(actions[0].blocks.size(), 3u);
  EXPECT_EQ(actions[0].first_index, 0u);
  EXPECT_THAT(table_.acknowledge(kId, 7, kStart), IsEmpty());  // not the reader any more
  EXPECT_THAT(table_.cancel(kId, 7, kStart), IsEmpty());
  EXPECT_EQ(state(), LeaseState::kSealed);
  (void)table_.acknowledge(kId, 8, kStart);
  EXPECT_EQ(state(), LeaseState::kCommitted);
}

TEST_F(LeaseTableTest, ASecondReaderTakesThePlaceOfTheFirst) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  const auto actions = table_.follow(kId, 8, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kAbort, Kind::kClose, Kind::kPublish));
  EXPECT_EQ(actions[0].reader, 7u);
  EXPECT_EQ(actions[2].reader, 8u);
  EXPECT_THAT(table_.lost(kId, 7, kStart), IsEmpty());
  EXPECT_THAT(kinds(table_.publish(kId, blocks(1, 1))), ElementsAre(Kind::kOffer, Kind::kPublish));
}

TEST_F(LeaseTableTest, AnAcknowledgementMayComeAfterTheStreamEnded) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  (void)table_.seal(kId, kStart);
  (void)table_.lost(kId, 7, kStart);
  (void)table_.acknowledge(kId, 7, kStart);
  EXPECT_EQ(state(), LeaseState::kCommitted);
}

TEST_F(LeaseTableTest, AnUnsealedLeaseCannotBeAcknowledged) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  EXPECT_THAT(table_.acknowledge(kId, 7, kStart), IsEmpty());
  EXPECT_EQ(state(), LeaseState::kStreaming);
}

TEST_F(LeaseTableTest, ACancellingReaderGivesTheLeaseBack) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  (void)table_.cancel(kId, 7, kStart);
  EXPECT_EQ(state(), LeaseState::kFreed);
  EXPECT_EQ(table_.open_leases(), 0u);
}

TEST_F(LeaseTableTest, WhatWasGivenBackBeforeItBeganDoesNotBegin) {
  (void)table_.release(kId, kStart);
  opened();
  EXPECT_EQ(state(), LeaseState::kFreed);
  EXPECT_THAT(kinds(table_.publish(kId, blocks(1))), ElementsAre(Kind::kUnpin));
  const auto actions = table_.follow(kId, 7, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kAbort, Kind::kClose));
  EXPECT_EQ(actions[0].reason.code, ErrorCode::kCancelled);
}

TEST_F(LeaseTableTest, AReaderThatComesAfterTheEndIsToldWhy) {
  opened(1);
  (void)table_.abort(kId, kBroken, kStart);
  EXPECT_EQ(table_.follow(kId, 7, kStart).at(0).reason.message, kBroken.message);
  constexpr TransferId kOther{3, 4};
  (void)table_.open(kOther, {}, kStart);
  (void)table_.seal(kOther, kStart);
  (void)table_.expire(kStart + seconds(10));
  EXPECT_EQ(table_.follow(kOther, 7, kStart).at(0).reason.code, ErrorCode::kStale);
}

TEST_F(LeaseTableTest, ReleasingUnderAReaderTellsIt) {
  opened(1);
  (void)table_.follow(kId, 7, kStart);
  (void)table_.seal(kId, kStart);
  const auto actions = table_.release(kId, kStart);
  ASSERT_THAT(kinds(actions), ElementsAre(Kind::kWithdraw, Kind::kAbort));
  EXPECT_EQ(actions[1].reason.code, ErrorCode::kCancelled);
}

TEST(LeaseTableBounds, HoldsNoMoreThanItMay) {
  LeaseTable table({.max_leases = 2, .max_blocks = 3, .remembered = 4});
  (void)table.open({0, 1}, {}, kStart);
  (void)table.follow({0, 2}, 7, kStart);
  EXPECT_THAT(kinds(table.follow({0, 3}, 8, kStart)), ElementsAre(Kind::kAbort, Kind::kClose));
  (void)table.open({0, 4}, {}, kStart);
  EXPECT_EQ(table.state({0, 4}), LeaseState::kFreed);
  EXPECT_THAT(kinds(table.publish({0, 1}, blocks(4))), ElementsAre(Kind::kUnpin));
  EXPECT_THAT(kinds(table.publish({0, 1}, blocks(3))), ElementsAre(Kind::kOffer));
  for (std::uint64_t i = 10; i < 20; ++i) (void)table.release({0, i}, kStart);
  EXPECT_EQ(table.state({0, 4}), std::nullopt);  // forgotten
  EXPECT_EQ(table.state({0, 19}), LeaseState::kFreed);
}

}  // namespace
}  // namespace baton::kv
