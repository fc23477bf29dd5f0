// The link between the two processes is taken down, for a second and for good, and loses packets.
// They live in network namespaces of their own; where those cannot be made the tests are skipped.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "tests/unit/kv_faults/network.h"
#include "tests/unit/kv_faults/states.h"
#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/node_fixture.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::MatchesRegex;
using testing::StartsWith;

class CutOff : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!network_.missing().empty()) GTEST_SKIP() << network_.missing();
  }
  void start(int heartbeat_ms) {
    auto settings = room_for(At::kUnderWay);
    settings.insert(settings.begin(), "serve");
    settings.insert(settings.end(), {"transports=" + GetParam(), "ttl_ms=500",
                                     fmt::format("heartbeat_ms={}", heartbeat_ms)});
    auto here = settings;
    here.insert(here.end(), {"engine=consumer", fmt::format("listen={}:0", Network::kHere)});
    settings.push_back(fmt::format("listen={}:0", Network::kThere));
    consumer_ = std::make_unique<Child>(here, network_.here());
    producer_ = std::make_unique<Child>(settings, network_.there());
    address_ = producer_->line();
    ASSERT_THAT(address_, StartsWith(Network::kThere));
    ASSERT_THAT(consumer_->line(), StartsWith(Network::kHere));
  }
  // Up to its first block; it cannot end well before it is sealed.
  void begin(int number, int blocks, int bytes, Duration limit) {
    producer_->say(fmt::format("open {}", number));
    consumer_->say(fmt::format("receive {} {} {} {}", number, address_, kTestEpoch,
                               std::chrono::duration_cast<milliseconds>(limit).count()));
    producer_->say(fmt::format("publish {} 0 {} {}", number, blocks, bytes));
    ASSERT_EQ(consumer_->line(), fmt::format("first {}", number));
  }
  void seal(int number) { producer_->say(fmt::format("seal {}", number)); }
  static bool becomes_idle(Child& child) {
    for (int i = 0; i < 300; ++i) {
      child.say("counts");
      const std::string line = child.line_that_starts("counts ");
      if (!line.empty() && PodCounts::parse(line).is_idle()) return true;
      std::this_thread::sleep_for(milliseconds(100));
    }
    return false;
  }

  const Network network_;
  std::unique_ptr<Child> consumer_;
  std::unique_ptr<Child> producer_;
  std::string address_;
};

TEST_P(CutOff, ASecondWithoutALinkIsSurvived) {
  start(2000);
  if (HasFatalFailure()) return;
  begin(1, 24, kLargeBlock, seconds(40));
  network_.take_down();
  seal(1);
  std::this_thread::sleep_for(seconds(1));
  network_.bring_up();
  EXPECT_EQ(consumer_->line_that_starts("end ", seconds(50)), "end 1 ok 24 0 ");
  EXPECT_TRUE(becomes_idle(*producer_));
}

TEST_P(CutOff, ALinkThatStaysDownEndsTheTransferInTime) {
  start(500);
  if (HasFatalFailure()) return;
  begin(1, 24, kLargeBlock, seconds(5));
  network_.take_down();
  seal(1);
  const std::string end = consumer_->line_that_starts("end ");
  EXPECT_THAT(end, MatchesRegex("end 1 (unavailable|timeout) [0-9]+ 0 .*"));
  EXPECT_THAT(end, testing::HasSubstr(address_));
  EXPECT_THAT(end, testing::HasSubstr(transfer_of(1).str()));
  // Either end gives back what it held for the other, without a word from it.
  EXPECT_TRUE(becomes_idle(*consumer_));
  EXPECT_TRUE(becomes_idle(*producer_));
  network_.bring_up();
  begin(2, 4, 50'000, seconds(20));
  seal(2);
  EXPECT_EQ(consumer_->line_that_starts("end "), "end 2 ok 4 0 ");
}

TEST_P(CutOff, LostPacketsCostTimeOnly) {
  start(4000);
  if (HasFatalFailure()) return;
  begin(1, 4, 50'000, seconds(20));
  seal(1);
  EXPECT_EQ(consumer_->line_that_starts("end "), "end 1 ok 4 0 ");
  if (!network_.lose_some()) GTEST_SKIP() << "nft cannot drop packets here";
  for (int number = 2; number < 5 && !HasFatalFailure(); ++number) {
    begin(number, 4, 50'000, seconds(60));
    seal(number);
    EXPECT_EQ(consumer_->line_that_starts("end ", seconds(60)),
              fmt::format("end {} ok 4 0 ", number));
  }
  network_.lose_none();
  EXPECT_TRUE(becomes_idle(*producer_));
}

INSTANTIATE_TEST_SUITE_P(Transports, CutOff, testing::Values("tcp", "ucx"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace baton::kv
