// Both ends of the nccl transport through everything that NCCL and CUDA may do to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>

#include "tests/unit/kv_transfer/nccl/nccl_fixture.h"

namespace baton::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST_F(NcclTest, BlocksLargerThanAChunk) {
  use_large_slots();
  start();
  publish(9, kLargeBlock);
  expect_hand_off();
}

TEST_F(NcclTest, ManySmallBlocksAndSeveralFetches) {
  start();
  publish(128, 3000);
  ASSERT_TRUE(connect());
  for (int round = 0; round < 20; ++round) {
    fetch();
    ASSERT_TRUE(all_ended());
    ASSERT_EQ(good(), blocks_.size());
    expect_contents();
  }
}

TEST_F(NcclTest, TwoReadersHaveACommunicatorEach) {
  start();
  publish(20, 100'000);
  expect_hand_off();
  const auto first = std::exchange(link_, nullptr);
  expect_hand_off();
  EXPECT_EQ(gpu_.communicators(), 4);
  EXPECT_FALSE(first->failed());
}

// Every call that a hand-off makes is refused, each of its occurrences in turn: what fails is
// reported once, and the next hand-off is as if nothing had been.
TEST_F(NcclTest, EveryCallFailsInTurn) {
  constexpr int kMostOfOneCall = 8;  // some are made a hundred times
  use_large_slots();
  start();
  publish(6, kLargeBlock / 2);
  const auto before = gpu_.calls();
  expect_hand_off();
  stop();
  auto made = gpu_.calls();
  for (const auto& [call, count] : before) made[call] -= count;
  std::erase_if(made, [](const auto& call) { return call.second == 0; });
  EXPECT_GE(made.size(), 17U);
  int failures = 0;
  for (const auto& [call, count] : made) {
    for (int nth = 1; nth <= std::min(count, kMostOfOneCall); ++nth) {
      SCOPED_TRACE(call + " " + std::to_string(nth));
      start();
      publish(6, kLargeBlock / 2);
      gpu_.fail(call, nth);
      if (const auto connected = connect(); !connected) {
        EXPECT_EQ(connected.error().code, ErrorCode::kUnavailable);
        ++failures;
      } else {
        fetch();
        ASSERT_TRUE(all_ended());
        expect_contents();
        if (good() < blocks_.size()) ++failures;
      }
      if (link_ != nullptr) link_->close();
      gpu_.fail(call, 1'000'000);  // no more
      expect_hand_off();
      stop();
    }
  }
  EXPECT_GE(failures, 30);
}

// What never ends is ended by its limit, on both sides, and the next hand-off goes well.
class NcclHangs : public NcclTest, public testing::WithParamInterface<const char*> {};

TEST_P(NcclHangs, AndIsGivenUp) {
  use_large_slots();
  limits_ = {.setup = milliseconds(500), .stall = milliseconds(500), .abort = seconds(5)};
  start();
  publish(6, kLargeBlock / 2);
  for (int nth = 1; nth <= 2; ++nth) {
    SCOPED_TRACE(nth);
    gpu_.hang(GetParam(), nth);
    if (const auto connected = connect(); connected) {
      fetch();
      ASSERT_TRUE(all_ended());
      EXPECT_LT(good(), blocks_.size());
      for (const auto& end : ends_) {
        if (!end->has_value()) EXPECT_EQ(end->error().code, ErrorCode::kUnavailable);
      }
      expect_contents();
      EXPECT_TRUE(run_until([&] { return link_->failed(); }));
    } else {
      EXPECT_EQ(connected.error().code, ErrorCode::kUnavailable);
    }
    EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 0; }));
    expect_contents();
    expect_hand_off();
    link_->close();
    EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 0; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, NcclHangs,
                         testing::Values("ncclCommInitRankConfig", "ncclSend", "ncclRecv",
                                         "cuEventQuery"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_F(NcclTest, AReaderWaitsForACommunicatorUntilItsDeadline) {
  start();
  gpu_.hang("ncclCommInitRankConfig", 2);
  const auto begun = Clock::now();
  const auto link = connect(owner_->reserve(begun), milliseconds(200));
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(link.error().message, HasSubstr("no communicator in time"));
  EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 0; }));
}

TEST_F(NcclTest, NcclFindsThatThePeerIsLost) {
  use_large_slots();
  start();
  publish(8, kLargeBlock / 2);
  int failures = 0;
  for (int nth = 1; nth < 60; nth += 6) {
    gpu_.lose_peer(nth);
    if (const auto connected = connect(); connected) {
      fetch();
      ASSERT_TRUE(all_ended());
      expect_contents();
      if (good() < blocks_.size()) ++failures;
      link_->close();
    } else {
      EXPECT_EQ(connected.error().code, ErrorCode::kUnavailable);
      ++failures;
    }
  }
  EXPECT_GT(failures, 0);
  gpu_.lose_peer(1'000'000);
  expect_hand_off();
}

TEST_F(NcclTest, ALinkClosedInMidTransferWritesNoMore) {
  start();
  publish(60, 900'000);
  for (std::size_t after = 0; after < 60; after += 7) {
    ASSERT_TRUE(connect());
    on_piece_ = [&] {
      if (ended() == after + 1) link_->close();
    };
    fetch();
    if (after == 0) link_->close();
    ASSERT_TRUE(all_ended());
    EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 0; }));
    expect_contents();
  }
}

// NCCL does not come back from the abort. What was under way is reported all the same, at once, and
// what comes after it is not held up.
TEST_F(NcclTest, AnAbortThatDoesNotReturn) {
  limits_ = {.setup = seconds(5), .stall = seconds(5), .abort = milliseconds(200)};
  start();
  publish(40, 900'000);
  ASSERT_TRUE(connect());
  gpu_.hang("ncclCommAbort");
  gpu_.hang("ncclRecv");
  fetch();
  EXPECT_TRUE(run_until([&] { return gpu_.calls()["ncclRecv"] > 0; }));
  link_->close();
  const auto closed_at = Clock::now();
  ASSERT_TRUE(all_ended());
  EXPECT_EQ(good(), 0U);
  EXPECT_LT(Clock::now() - closed_at, limits_.stall);
  expect_contents();
  expect_hand_off();
  stop();
  EXPECT_NE(gpu_.left(), "");
  gpu_.let_go();  // TearDown() sees that nothing is left, then
}

// A communicator that fails by itself: its pieces do not wait for the abort either.
TEST_F(NcclTest, AFailureIsReportedBeforeTheAbortReturns) {
  start();
  publish(4, 900'000);
  ASSERT_TRUE(connect());
  gpu_.hang("ncclCommAbort");
  gpu_.fail("ncclRecv");
  fetch();
  ASSERT_TRUE(all_ended());
  EXPECT_EQ(good(), 0U);
  expect_contents();
}

TEST_F(NcclTest, AStaleBlockHasNoBody) {
  start();
  publish(3, 1000);
  ASSERT_TRUE(connect());
  owner_->abort(id_);
  const auto sends = gpu_.calls()["ncclSend"];
  fetch();
  ASSERT_TRUE(all_ended());
  for (const auto& end : ends_) EXPECT_EQ(end->error().code, ErrorCode::kStale);
  EXPECT_EQ(gpu_.calls()["ncclSend"], sends);
  EXPECT_FALSE(link_->failed());
}

TEST_F(NcclTest, StoppingInMidTransferEndsEverything) {
  start();
  publish(60, 900'000);
  ASSERT_TRUE(connect());
  fetch();
  ASSERT_TRUE(run_until([&] { return ended() > 3; }));
  const auto blocks = blocks_;
  stop();
  EXPECT_TRUE(all_ended());
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    if (ends_[i]->has_value()) EXPECT_EQ(checksum_of(into_[i]), blocks[i].checksum);
  }
}

}  // namespace
}  // namespace baton::kv
