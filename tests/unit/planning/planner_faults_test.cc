// What the planner makes of what should not be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

class PlannerFaultsTest : public testing::Test {
 protected:
  void add_pods(int prefill, int decode) {
    for (int i = 0; i < prefill; ++i) pool_.add("p" + std::to_string(i), Role::kPrefill);
    for (int i = 0; i < decode; ++i) pool_.add("d" + std::to_string(i), Role::kDecode);
  }
  static PlanRequest request_of(int tokens) {
    PlanRequest request;
    request.blocks = prompt_of(tokens);
    request.prompt = Tokens(tokens);
    return request;
  }
  // A plan that is one, and can be carried out and settled.
  Plan sane_plan(const PlanRequest& request, std::uint64_t seed = 1) {
    const auto plan = planner_.plan(request, pool_.snapshot, pool_.now, seed);
    EXPECT_TRUE(plan) << plan.error().message;
    if (!plan) return {};
    EXPECT_NE(plan->decode, nullptr);
    EXPECT_EQ(plan->prefill != nullptr, plan->kind == PlanKind::kSplit);
    EXPECT_TRUE(std::isfinite(plan->predicted_ttft_seconds));
    EXPECT_TRUE(std::isfinite(plan->predicted_tpot_seconds));
    EXPECT_GE(plan->predicted_ttft_seconds, 0.0);
    EXPECT_GE(plan->predicted_tpot_seconds, 0.0);
    {
      const PlanAccount account = planner_.commit(*plan, request, pool_.now);
      EXPECT_EQ(pool_.load(*plan->decode).running_decodes, 1);
    }
    for (const auto& entry : pool_.entries) {
      const PodLoad& load = pool_.load(*entry);
      EXPECT_EQ(load.in_flight, 0);
      EXPECT_EQ(load.uncached_prefill_tokens, 0);
      EXPECT_EQ(load.reserved_kv_tokens, 0);
    }
    return *plan;
  }

  TestPool pool_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
};

TEST_F(PlannerFaultsTest, AnEmptyPoolIsAnErrorThatNamesIt) {
  for (const Policy policy : {Policy::kPredicted, Policy::kRoundRobin, Policy::kGaieDefault}) {
    planner_.set_policies(policy, policy);
    const auto plan = planner_.plan(request_of(100), pool_.snapshot, pool_.now, 1);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().message, "pool chat has no decode pod");
  }
}

TEST_F(PlannerFaultsTest, OnePodServesAll) {
  pool_.add("only", Role::kBoth);
  for (const std::string_view name : policy_names()) {
    planner_.set_policies(*policy_from_name(name), *policy_from_name(name));
    EXPECT_EQ(sane_plan(request_of(500)).kind, PlanKind::kDecodeOnly) << name;
  }
}

TEST_F(PlannerFaultsTest, AllPodsDrainingIsAnErrorThatCountsThem) {
  add_pods(2, 3);
  for (const auto& entry : pool_.entries) entry->state.health = Health::kDraining;
  const auto plan = planner_.plan(request_of(100), pool_.snapshot, pool_.now, 1);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, testing::HasSubstr("3 draining"));
  EXPECT_TRUE(plan.error().retryable);
}

TEST_F(PlannerFaultsTest, TenThousandPodsAreAPoolToo) {
  add_pods(5000, 5000);
  std::vector<LoadTicket> busy;
  for (const auto& entry : pool_.entries) {
    if (entry->pod.name == "p4711" || entry->pod.name == "d4711") continue;
    busy.push_back(can_decode(entry->pod.role)
                       ? LoadTicket::for_decode(pool_.load(*entry), Tokens(500'000))
                       : LoadTicket::for_prefill(pool_.load(*entry), Tokens(5000)));
  }
  PlanRequest request = request_of(8192);
  request.split = Split::kAlways;
  const auto plan = planner_.plan(request, pool_.snapshot, pool_.now, 1);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->prefill->pod.name, "p4711");
  EXPECT_EQ(plan->decode->pod.name, "d4711");
}

TEST_F(PlannerFaultsTest, AbsurdMetricsStopNobody) {
  add_pods(2, 2);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double usage : {nan, infinity, -infinity, -3.0, 1e300}) {
    for (const auto& entry : pool_.entries) {
      entry->state.kv_usage = usage;
      entry->state.running = std::numeric_limits<int>::max();
      entry->state.waiting = std::numeric_limits<int>::min();
      entry->state.kv_capacity = Tokens(std::numeric_limits<std::int64_t>::max());
      entry->state.max_loras = -7;
    }
    for (const std::string_view name : policy_names()) {
      planner_.set_policies(*policy_from_name(name), *policy_from_name(name));
      PlanRequest request = request_of(700);
      request.lora = "sql";
      (void)sane_plan(request);
    }
  }
}

TEST_F(PlannerFaultsTest, AClockMayJump) {
  add_pods(2, 2);
  const PlanRequest request = request_of(3000);
  PrefillWatch& prefills = pool_.load(*pool_.entries[0]).prefills;
  const TimePoint began = pool_.now;
  for (const auto jump : {std::chrono::hours(0), std::chrono::hours(-24 * 365 * 3),
                          std::chrono::hours(24 * 365 * 9), std::chrono::hours(1)}) {
    pool_.now = began + jump;
    const Plan plan = sane_plan(request);
    planner_.confirm(plan, request, pool_.now);
    (void)prefills.done({began, pool_.now, PromptWork::of(Tokens(0), Tokens(3000)), true});
  }
}

TEST_F(PlannerFaultsTest, PromptsOfNoAndOfAMillionTokensArePlanned) {
  add_pods(2, 2);
  for (const int tokens : {0, 1, 63, 64, 1'000'000}) {
    PlanRequest request = request_of(tokens);
    for (const Split split : {Split::kAuto, Split::kAlways, Split::kNever}) {
      request.split = split;
      const Plan plan = sane_plan(request);
      EXPECT_GE(plan.prefill_cached.count(), 0);
      EXPECT_LE(plan.prefill_cached, Tokens(std::max(0, tokens - 1)));
    }
  }
}

TEST_F(PlannerFaultsTest, ABelievedLengthMayBeWrong) {
  add_pods(1, 1);
  PlanRequest request = request_of(4096);
  planner_.confirm(sane_plan(request), request, pool_.now);
  request.prompt = Tokens(10);  // an estimate far below what the chain stands for
  const Plan plan = sane_plan(request);
  EXPECT_LE(plan.decode_cached, Tokens(9));
  // Far above what any request holds: its KV in bytes is more than a number.
  request.prompt = Tokens(std::numeric_limits<std::int64_t>::max() / 4);
  (void)sane_plan(request);
}

TEST_F(PlannerFaultsTest, ExpectationsAndObjectivesMayBeAbsurd) {
  add_pods(2, 2);
  for (const std::int64_t output : {-5L, 0L, 1L, 1L << 40}) {
    for (const Duration slo : {Duration(1), Duration(std::chrono::hours(24 * 365 * 100))}) {
      PlanRequest request = request_of(2048);
      request.expected_output = Tokens(output);
      request.slo = {slo, slo};
      const auto plan = planner_.plan(request, pool_.snapshot, pool_.now, 1);
      ASSERT_TRUE(plan);
      EXPECT_TRUE(std::isfinite(plan->predicted_tpot_seconds));
      EXPECT_GE(plan->predicted_tpot_seconds, 0.0);
    }
  }
}

TEST_F(PlannerFaultsTest, AHundredThousandAdaptersFindAPod) {
  add_pods(2, 2);
  for (const auto& entry : pool_.entries) entry->state.max_loras = 4;
  for (int i = 0; i < 100'000; i += 997) {
    PlanRequest request;
    request.lora = "adapter-" + std::to_string(i);
    const std::vector<TokenId> ids(600, 7);
    request.blocks = PromptBlocks::from_tokens(ids, Tokens(64), "", request.lora);
    request.prompt = Tokens(600);
    const Plan plan = sane_plan(request, static_cast<std::uint64_t>(i));
    EXPECT_EQ(plan.prefill_cached, Tokens(0)) << "adapters share no prefix";
    planner_.confirm(plan, request, pool_.now);
  }
}

// What one tenant's prompts left behind changes neither the plan of another nor what it predicts.
TEST_F(PlannerFaultsTest, TenantsShareNothing) {
  add_pods(3, 3);
  const std::vector<TokenId> ids(4096, 9);
  PlanRequest mine;
  mine.blocks = PromptBlocks::from_tokens(ids, Tokens(64), "mine", "");
  mine.prompt = Tokens(4096);
  PlanRequest theirs = mine;
  theirs.blocks = PromptBlocks::from_tokens(ids, Tokens(64), "theirs", "");
  const Plan before = sane_plan(theirs);
  for (std::uint64_t seed = 0; seed < 9; ++seed) {
    planner_.confirm(sane_plan(mine, seed), mine, pool_.now);
  }
  pool_.now += 2 * kBeliefTime;  // sane_plan() itself let the planner believe some
  planner_.withdraw(before, theirs);
  const Plan after = sane_plan(theirs);
  EXPECT_EQ(after.prefill_cached, Tokens(0));
  EXPECT_EQ(after.decode_cached, Tokens(0));
  EXPECT_EQ(after.predicted_ttft_seconds, before.predicted_ttft_seconds);
}

}  // namespace
}  // namespace baton::orchestrator
