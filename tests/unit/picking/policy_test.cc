#include "core/picking/policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <vector>

namespace baton {
namespace {

using Pods = std::vector<PolicyPod>;

std::size_t pick(Policy policy, const Pods& pods, PickStage stage = PickStage::kWhole,
                 std::uint64_t turn = 0, std::uint64_t seed = 1) {
  return choose(policy, {.stage = stage, .prompt = Tokens(1000), .turn = turn, .seed = seed}, pods);
}

TEST(PolicyTest, HasOneNameEach) {
  std::set<std::string_view> names;
  for (const std::string_view name : policy_names()) {
    names.insert(name);
    ASSERT_TRUE(policy_from_name(name));
    EXPECT_EQ(name_of(*policy_from_name(name)), name);
  }
  EXPECT_EQ(names.size(), kPolicies);
  EXPECT_FALSE(policy_from_name("best"));
}

TEST(PolicyTest, RoundRobinTakesTurnsAndRandomTakesAll) {
  const Pods pods(3);
  for (std::uint64_t turn = 0; turn < 6; ++turn) {
    EXPECT_EQ(pick(Policy::kRoundRobin, pods, PickStage::kDecode, turn), turn % 3);
  }
  std::set<std::size_t> drawn;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    drawn.insert(pick(Policy::kRandom, pods, PickStage::kDecode, 0, seed));
  }
  EXPECT_EQ(drawn.size(), 3U);
}

TEST(PolicyTest, LeastRequestBreaksTiesBySeed) {
  Pods pods(3);
  pods[1].in_flight = 5;
  std::set<std::size_t> drawn;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    drawn.insert(pick(Policy::kLeastRequest, pods, PickStage::kDecode, 0, seed));
  }
  EXPECT_EQ(drawn, (std::set<std::size_t>{0, 2}));
}

TEST(PolicyTest, PowerOfTwoNeverTakesTheBusiestOfTwo) {
  Pods pods(2);
  pods[0].in_flight = 4;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(pick(Policy::kPowerOfTwo, pods, PickStage::kDecode, 0, seed), 1U);
  }
  EXPECT_EQ(pick(Policy::kPowerOfTwo, Pods(1)), 0U);
}

TEST(PolicyTest, CacheAwareFollowsAPrefixUntilLoadIsUneven) {
  Pods pods(2);
  pods[0].cached = Tokens(600);
  pods[0].in_flight = 50;
  EXPECT_EQ(pick(Policy::kCacheAware, pods), 0U);
  pods[0].in_flight = 70;  // over 64 and one and a half times more
  EXPECT_EQ(pick(Policy::kCacheAware, pods), 1U);
  pods[0] = {.in_flight = 1, .cached = Tokens(300)};  // no more than 0.3 of the prompt
  EXPECT_EQ(pick(Policy::kCacheAware, pods), 1U);
}

TEST(PolicyTest, GaieWeighsQueueRoomAndPrefix) {
  Pods pods(2);
  pods[0] = {.cached = Tokens(1000), .waiting = 4, .kv_usage = 0.5};  // 3 · 1 + 2 · 0 + 2 · 0.5
  pods[1] = {.waiting = 0, .kv_usage = 0.2};                          // 0 + 2 · 1 + 2 · 0.8
  EXPECT_EQ(pick(Policy::kGaieDefault, pods), 0U);
  pods[0].cached = Tokens(800);  // 3.4 against 3.6
  EXPECT_EQ(pick(Policy::kGaieDefault, pods), 1U);
}

TEST(PolicyTest, DynamoCountsBlocksOfTheStage) {
  Pods pods(2);
  pods[0] = {.queued = Tokens(640), .kv = Tokens(6400), .cached = Tokens(960)};
  pods[1] = {.queued = Tokens(0), .kv = Tokens(12800)};
  EXPECT_EQ(pick(Policy::kDynamoKv, pods, PickStage::kPrefill), 0U);  // 680 tokens against 1,000
  EXPECT_EQ(pick(Policy::kDynamoKv, pods, PickStage::kDecode), 0U);
  pods[0].queued = Tokens(9000);
  EXPECT_EQ(pick(Policy::kDynamoKv, pods, PickStage::kPrefill), 1U);
  EXPECT_EQ(pick(Policy::kDynamoKv, pods, PickStage::kWhole), 1U);  // 16,440 against 14,800
}

TEST(PolicyTest, LmetricMultipliesAndMooncakeGoesByTime) {
  Pods pods(2);
  pods[0] = {.in_flight = 3, .running = 3, .cached = Tokens(900), .start_seconds = 0.2};
  pods[1] = {.in_flight = 0, .running = 1, .start_seconds = 0.1};
  EXPECT_EQ(pick(Policy::kLmetric, pods), 0U);  // 100 · 4 against 1,000 · 1
  EXPECT_EQ(pick(Policy::kLmetric, pods, PickStage::kDecode), 1U);
  EXPECT_EQ(pick(Policy::kMooncake, pods, PickStage::kPrefill), 1U);
  pods[1].kv = Tokens(1);
  EXPECT_EQ(pick(Policy::kMooncake, pods, PickStage::kDecode), 0U);
}

TEST(PolicyTest, FiguresThatAreNoNumbersPickSomePod) {
  Pods pods(3);
  for (PolicyPod& pod : pods) {
    pod.kv_usage = pod.start_seconds = std::numeric_limits<double>::quiet_NaN();
  }
  for (const std::string_view name : policy_names()) {
    EXPECT_LT(pick(*policy_from_name(name), pods), 3U) << name;
  }
}

}  // namespace
}  // namespace baton
