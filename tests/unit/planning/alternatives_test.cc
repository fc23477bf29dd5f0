#include "orchestrator/planning/alternatives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/planning/explain.h"
#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using Differs = PlanAlternative::Differs;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::shared_ptr<const PodEntry> pod(std::string name, std::uint32_t index) {
  auto entry = std::make_shared<PodEntry>();
  entry->pod.name = std::move(name);
  entry->index = index;
  return entry;
}

class AlternativesTest : public testing::Test {
 protected:
  static PlanOption option(std::shared_ptr<const PodEntry> prefill,
                           std::shared_ptr<const PodEntry> decode, std::vector<PlanTerm> terms) {
    PlanOption option;
    option.prefill = std::move(prefill);
    option.decode = std::move(decode);
    for (const PlanTerm& term : terms) option.cost_seconds += term.seconds;
    option.ttft_seconds = option.cost_seconds;
    option.terms = std::move(terms);
    return option;
  }
  std::vector<PlanAlternative> beside(const PlanOption& chosen,
                                      const std::vector<PlanOption>& weighed) {
    return alternatives_to(chosen, weighed);
  }

  std::shared_ptr<const PodEntry> p0_ = pod("p0", 0);
  std::shared_ptr<const PodEntry> p1_ = pod("p1", 1);
  std::shared_ptr<const PodEntry> d0_ = pod("d0", 2);
  std::shared_ptr<const PodEntry> d1_ = pod("d1", 3);
};

TEST_F(AlternativesTest, AreTheCheapestThatDifferInOneThing) {
  const PlanOption chosen = option(p0_, d0_, {{"prefill", 0.1}});
  const std::vector<PlanOption> weighed = {
      chosen,
      option(p0_, d1_, {{"prefill", 0.2}}),
      option(p1_, d0_, {{"prefill", 0.4}}),
      option(p1_, d1_, {{"prefill", 0.3}}),
      option(nullptr, d0_, {{"prefill", 0.6}}),
      option(nullptr, d1_, {{"prefill", 0.5}}),
  };
  const auto found = beside(chosen, weighed);
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_EQ(found[0].differs, Differs::kPrefillPod);
  EXPECT_EQ(found[0].option.prefill, p1_);
  EXPECT_EQ(found[0].option.decode, d1_);
  EXPECT_EQ(found[1].differs, Differs::kDecodePod);
  EXPECT_EQ(found[1].option.prefill, p0_);
  EXPECT_EQ(found[1].option.decode, d1_);
  EXPECT_EQ(found[2].differs, Differs::kKind);
  EXPECT_EQ(found[2].option.prefill, nullptr);
  EXPECT_EQ(found[2].option.decode, d1_);
  EXPECT_THAT(beside(chosen, {chosen}), IsEmpty());
}

TEST_F(AlternativesTest, NameTheTermThatWouldHaveToBeShorter) {
  const PlanOption chosen = option(p0_, d0_, {{"queue", 0.01}, {"prefill", 0.1}});
  const PlanOption other = option(p1_, d0_, {{"queue", 0.034}, {"prefill", 0.098}});
  const auto found = beside(chosen, {chosen, other});
  EXPECT_EQ(what_would_change(chosen, found.at(0)),
            "p1 instead of p0, if its queue were 22.0 ms shorter");
}

TEST_F(AlternativesTest, NameBothPodsWhereBothAreOthers) {
  const PlanOption chosen = option(p0_, d0_, {{"queue", 0.01}});
  const auto found = beside(chosen, {chosen, option(p1_, d1_, {{"queue", 0.034}})});
  EXPECT_EQ(what_would_change(chosen, found.at(0)),
            "p1 and d1 instead, if the queue were 24.0 ms shorter");
}

TEST_F(AlternativesTest, ListTheTermsWhereNoneOfThemIsTheWholeGap) {
  const PlanOption chosen = option(p0_, d0_, {{"queue", 0.0}, {"prefill", 0.1}});
  const PlanOption both =
      option(nullptr, d1_, {{"queue", 0.09}, {"prefill", 0.21}, {"harm", 0.05}, {"step", 0.01}});
  const auto found = beside(chosen, {chosen, both});
  EXPECT_EQ(what_would_change(chosen, found.at(0)),
            "decode-only on d1 instead costs 260.0 ms more: prefill +110.0, queue +90.0, "
            "harm to running streams +50.0");
}

TEST_F(AlternativesTest, GiveNoAmountWhereTheSloIsInIt) {
  const PlanOption chosen = option(p0_, d0_, {{"queue", 0.01}});
  const PlanOption other = option(p0_, d1_, {{"queue", 0.5}, {"slo_excess", 0.4}});
  const auto found = beside(chosen, {chosen, other});
  EXPECT_EQ(what_would_change(chosen, found.at(0)),
            "d1 instead of d0 costs 890.0 ms more: queue +490.0, excess over the SLO +400.0");
}

TEST_F(AlternativesTest, SayWhatTiesAndWhatIsRuledOut) {
  const PlanOption chosen = option(p0_, d0_, {{"prefill", 0.1}});
  const auto tied = beside(chosen, {chosen, option(p1_, d0_, {{"prefill", 0.104}})});
  EXPECT_TRUE(tied.at(0).ties);
  EXPECT_THAT(what_would_change(chosen, tied[0]), HasSubstr("p1 instead of p0 is as good (4.0 ms"));
  auto single = beside(chosen, {chosen, option(nullptr, d0_, {{"prefill", 0.02}})});
  EXPECT_FALSE(single.at(0).ties);
  single[0].ruled_out_by = "the pool always splits";
  EXPECT_EQ(what_would_change(chosen, single[0]),
            "decode-only on d0 instead would cost 80.0 ms less, but the pool always splits");
}

// The planner's own options.
class ExplainedPlanTest : public testing::Test {
 protected:
  ExplainedPlanTest() {
    for (const char* name : {"p0", "p1"}) pool_.add(name, Role::kPrefill);
    for (const char* name : {"d0", "d1"}) pool_.add(name, Role::kDecode);
  }
  Plan plan(Split split, int tokens, SloConfig slo = {}) {
    PlanRequest request;
    request.blocks = prompt_of(tokens);
    request.prompt = Tokens(tokens);
    request.split = split;
    request.slo = slo;
    request.explain = true;
    auto plan = planner_.plan(request, pool_.snapshot, pool_.now, 0);
    EXPECT_TRUE(plan) << plan.error().message;
    return std::move(*plan);
  }
  static double sum(const PlanOption& option) {
    double sum = 0;
    for (const PlanTerm& term : option.terms) sum += term.seconds;
    return sum;
  }

  TestPool pool_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
};

TEST_F(ExplainedPlanTest, TermsAddUpToTheCostOfEachOption) {
  const auto busy = LoadTicket::for_prefill(pool_.loads.of(0), Tokens(3000));
  const auto joins = LoadTicket::for_decode_only(pool_.loads.of(2), Tokens(9000), Tokens(9000));
  SloConfig slo;
  slo.ttft = std::chrono::milliseconds(100);
  slo.tpot = std::chrono::milliseconds(1);
  for (const Split split : {Split::kAlways, Split::kAuto, Split::kNever}) {
    for (const SloConfig& limits : {SloConfig{}, slo}) {
      const Plan plan = this->plan(split, 2048, limits);
      EXPECT_EQ(plan.chosen.decode, plan.decode);
      EXPECT_EQ(plan.chosen.prefill, plan.prefill);
      EXPECT_DOUBLE_EQ(plan.chosen.ttft_seconds, plan.predicted_ttft_seconds);
      EXPECT_NEAR(sum(plan.chosen), plan.chosen.cost_seconds, 1e-9);
      EXPECT_FALSE(plan.alternatives.empty());
      for (const PlanAlternative& other : plan.alternatives) {
        EXPECT_NEAR(sum(other.option), other.option.cost_seconds, 1e-9);
      }
    }
  }
}

TEST_F(ExplainedPlanTest, AShorterQueueOfTheRunnerUpWouldHaveChangedTheChoice) {
  auto queue = LoadTicket::for_prefill(pool_.loads.of(0), Tokens(3000));
  const Plan before = plan(Split::kAlways, 2048);
  EXPECT_EQ(before.prefill->pod.name, "p1");
  ASSERT_FALSE(before.alternatives.empty());
  EXPECT_EQ(before.alternatives[0].differs, Differs::kPrefillPod);
  EXPECT_THAT(what_would_change(before.chosen, before.alternatives[0]),
              HasSubstr("p0 instead of p1, if its queue were "));
  queue.finish();
  const auto other = LoadTicket::for_prefill(pool_.loads.of(1), Tokens(3000));
  EXPECT_EQ(plan(Split::kAlways, 2048).prefill->pod.name, "p0");
}

TEST_F(ExplainedPlanTest, TheOtherKindIsWeighedWhereItCannotBeTakenToo) {
  const auto kind_of = [](const Plan& plan) {
    const auto found =
        std::ranges::find(plan.alternatives, Differs::kKind, &PlanAlternative::differs);
    return found == plan.alternatives.end() ? PlanAlternative{} : *found;
  };
  const Plan always = plan(Split::kAlways, 2048);
  ASSERT_NE(kind_of(always).option.decode, nullptr);
  EXPECT_EQ(kind_of(always).option.prefill, nullptr);
  EXPECT_EQ(kind_of(always).ruled_out_by, "the pool always splits");
  const Plan never = plan(Split::kNever, 2048);
  EXPECT_EQ(never.kind, PlanKind::kDecodeOnly);
  ASSERT_NE(kind_of(never).option.prefill, nullptr);
  EXPECT_EQ(kind_of(never).ruled_out_by, "the pool never splits");
  EXPECT_EQ(kind_of(plan(Split::kAuto, 2048)).ruled_out_by, "");
}

TEST_F(ExplainedPlanTest, IsWholeAsJsonWithItsAlternatives) {
  for (int i = 0; i < 200; ++i) pool_.add("prefill-" + std::to_string(i), Role::kPrefill);
  const Plan plan = this->plan(Split::kAlways, 2048);
  const auto json = nlohmann::json::parse(plan_json(plan));
  EXPECT_EQ(json["prefill_candidates"].size(), 202U);
  EXPECT_EQ(json["decode_candidates"].size(), 2U);
  EXPECT_NEAR(json["cost_ms"].get<double>(), plan.chosen.cost_seconds * 1e3, 0.001);
  EXPECT_TRUE(json["terms"].contains("handoff"));
  ASSERT_EQ(json["alternatives"].size(), 3U);
  EXPECT_EQ(json["alternatives"][0]["differs"], "prefill");
  EXPECT_EQ(json["alternatives"][0]["ties"], true);
  EXPECT_EQ(json["alternatives"][2]["prefill"], nullptr);
  EXPECT_EQ(json["alternatives"][2]["ruled_out_by"], "the pool always splits");
  EXPECT_THAT(json["alternatives"][2]["what"].get<std::string>(), HasSubstr("decode-only on d"));
  EXPECT_TRUE(json["alternatives"][2]["differences"].contains("handoff"));
}

}  // namespace
}  // namespace baton::orchestrator
