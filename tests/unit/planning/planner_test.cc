#include "orchestrator/planning/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "core/picking/cost_terms.h"
#include "orchestrator/planning/explain.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using testing::HasSubstr;

class PlannerTest : public testing::Test {
 protected:
  // Two pods of each kind, all idle.
  void add_pods() {
    p0_ = &pool_.add("p0", Role::kPrefill);
    p1_ = &pool_.add("p1", Role::kPrefill);
    d0_ = &pool_.add("d0", Role::kDecode);
    d1_ = &pool_.add("d1", Role::kDecode);
  }
  static PlanRequest request_of(int tokens, Split split = Split::kAlways) {
    PlanRequest request;
    request.blocks = prompt_of(tokens);
    request.prompt = Tokens(tokens);
    request.split = split;
    return request;
  }
  Result<Plan> plan(const PlanRequest& request, std::uint64_t seed = 1) {
    return planner_.plan(request, pool_.snapshot, pool_.now, seed);
  }

  TestPool pool_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
  PodEntry* p0_ = nullptr;
  PodEntry* p1_ = nullptr;
  PodEntry* d0_ = nullptr;
  PodEntry* d1_ = nullptr;
};

TEST_F(PlannerTest, PairsTheLeastLoadedPods) {
  add_pods();
  const auto a = LoadTicket::for_prefill(pool_.load(*p0_), Tokens(4000));
  const auto b = LoadTicket::for_decode(pool_.load(*d1_), Tokens(400000));
  const auto plan = this->plan(request_of(1024));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kind, PlanKind::kSplit);
  EXPECT_EQ(plan->prefill->pod.name, "p1");
  EXPECT_EQ(plan->decode->pod.name, "d0");
  EXPECT_GT(plan->predicted_ttft_seconds, 0.1);
  EXPECT_GT(plan->predicted_tpot_seconds, 0.0);
  EXPECT_FALSE(plan->reason.empty());
  EXPECT_TRUE(plan->prefill_candidates.empty());
}

// One decode pod is idle, the other runs streams and holds the prompt: computing it there comes
// soonest, and stops them.
TEST_F(PlannerTest, TheSloSaysWhatStreamsCountBesideWaiting) {
  add_pods();
  const auto busy = LoadTicket::for_prefill(pool_.load(*p0_), Tokens(8000));
  const auto busy_too = LoadTicket::for_prefill(pool_.load(*p1_), Tokens(8000));
  const auto not_d1 = LoadTicket::for_prefill(pool_.load(*d1_), Tokens(20000));
  std::vector<LoadTicket> streams;
  for (int i = 0; i < 12; ++i) {
    streams.push_back(LoadTicket::for_decode(pool_.load(*d0_), Tokens(100)));
  }
  PlanRequest request = request_of(2048, Split::kAuto);
  request.slo.ttft = std::chrono::seconds(100);
  request.slo.tpot = std::chrono::seconds(1);
  EXPECT_EQ(plan(request)->kind, PlanKind::kSplit);
  request.slo.tpot = std::chrono::seconds(100);  // streams may take their time
  const auto soon = plan(request);
  EXPECT_EQ(soon->kind, PlanKind::kDecodeOnly);
  EXPECT_EQ(soon->decode->pod.name, "d0");
}

TEST_F(PlannerTest, WhatIsBeyondTheSloCostsMore) {
  add_pods();
  // Streams of d0 are slow; d1 has prompts to compute first.
  const auto slow = LoadTicket::for_decode(pool_.load(*d0_), Tokens(2'000'000));
  const auto late = LoadTicket::for_prefill(pool_.load(*d1_), Tokens(8000));
  PlanRequest request = request_of(2048);
  const auto plain = plan(request);
  EXPECT_EQ(plain->decode->pod.name, "d0");
  EXPECT_GT(plain->predicted_tpot_seconds, 0.02);
  request.slo.tpot = std::chrono::milliseconds(10);
  const auto within = plan(request);
  EXPECT_EQ(within->decode->pod.name, "d1");
  EXPECT_LT(within->predicted_tpot_seconds, 0.01);
  EXPECT_GT(within->predicted_ttft_seconds, plain->predicted_ttft_seconds);
}

TEST_F(PlannerTest, PoliciesOfOthersTakeTurnsAndAlwaysSplit) {
  add_pods();
  planner_.set_policies(Policy::kRoundRobin, Policy::kRoundRobin);
  const PlanRequest request = request_of(512, Split::kAuto);
  std::vector<std::string> picked;
  for (int i = 0; i < 4; ++i) {
    const auto plan = this->plan(request);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->kind, PlanKind::kSplit);
    picked.push_back(plan->prefill->pod.name + plan->decode->pod.name);
    (void)planner_.commit(*plan, request, pool_.now);
  }
  EXPECT_THAT(picked, testing::ElementsAre("p0d0", "p1d1", "p0d0", "p1d1"));
  // Explaining or trying again does not take a turn.
  EXPECT_EQ(plan(request)->prefill->pod.name, "p0");
  EXPECT_EQ(plan(request)->prefill->pod.name, "p0");
}

TEST_F(PlannerTest, ADecodePodCanBePickedForAPromptThatIsComputed) {
  add_pods();
  PlanRequest request = request_of(2048, Split::kAuto);
  request.prefill_on = pool_.snapshot.pods[p1_->index];
  const auto load = LoadTicket::for_prefill(pool_.load(*p1_), Tokens(90000));
  const auto busy = LoadTicket::for_decode(pool_.load(*d0_), Tokens(900000));
  const auto plan = this->plan(request);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, PlanKind::kSplit);
  EXPECT_EQ(plan->prefill->pod.name, "p1");
  EXPECT_EQ(plan->decode->pod.name, "d1");
  EXPECT_EQ(plan->prefill_cached, Tokens(2048));
}

TEST_F(PlannerTest, NextPickSeesWhatWasCommitted) {
  add_pods();
  const PlanRequest first = request_of(1024);
  const auto plan_a = plan(first);
  const PlanAccount account = planner_.commit(*plan_a, first, pool_.now);
  EXPECT_EQ(pool_.load(*plan_a->prefill).uncached_prefill_tokens, 1024);
  EXPECT_EQ(pool_.load(*plan_a->decode).reserved_kv_tokens, 1024 + 128);
  PlanRequest other = request_of(1024);
  other.blocks = prompt_of(1024, 7);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto plan_b = plan(other, seed);
    EXPECT_NE(plan_b->prefill, plan_a->prefill);
    EXPECT_NE(plan_b->decode, plan_a->decode);
  }
}

TEST_F(PlannerTest, APromptWithBothChainsIsBelievedAndWithdrawnByBoth) {
  add_pods();
  PlanRequest request = request_of(1024);
  request.blocks.text_chain = PromptBlocks::from_text(std::string(4096, 'x'), "", "").text_chain;
  request.blocks.text_bytes = 4096;
  request.blocks.token_chain.resize(8);  // known as far as half of the prompt
  const auto held = [&](const PodEntry& pod) {
    std::vector<std::uint32_t> depths;
    for (const PrefixChain& chain : prefix_chains(request.blocks, request.prompt)) {
      const std::vector<std::uint32_t> pods = {pod.index};
      depths.push_back(pool_.prefixes.match(chain.elements, pods, pool_.now).front());
    }
    return depths;
  };
  const auto plan = this->plan(request);
  (void)planner_.commit(*plan, request, pool_.now);
  EXPECT_THAT(held(*plan->prefill), testing::ElementsAre(16, 8));
  EXPECT_THAT(held(*plan->decode), testing::ElementsAre(16, 8));
  planner_.withdraw(*plan, request);
  EXPECT_THAT(held(*plan->prefill), testing::ElementsAre(0, 0));
  planner_.confirm(*plan, request, pool_.now);
  pool_.now += std::chrono::hours(1);
  EXPECT_THAT(held(*plan->decode), testing::ElementsAre(16, 8));
}

TEST_F(PlannerTest, WhatPodsTellThemselvesIsBelievedForAMinuteOnly) {
  add_pods();
  PlanRequest request = request_of(1024);
  request.caches_are_told = true;
  const auto first = plan(request);
  planner_.confirm(*first, request, pool_.now);
  pool_.now += std::chrono::seconds(59);
  EXPECT_GT(plan(request)->prefill_cached, Tokens(0));
  pool_.now += std::chrono::seconds(2);
  EXPECT_EQ(plan(request)->prefill_cached, Tokens(0));
}

TEST_F(PlannerTest, ARetryDoesNotCountOnWhatItsFailedPlanBelieved) {
  add_pods();
  PlanRequest request = request_of(8192);
  const auto failed = plan(request);
  ASSERT_TRUE(failed);
  (void)planner_.commit(*failed, request, pool_.now);
  planner_.withdraw(*failed, request);
  request.excluded_prefill = {failed->prefill->pod.name};
  const auto retried = plan(request);
  ASSERT_TRUE(retried);
  EXPECT_EQ(retried->decode_cached, Tokens(0));
}

TEST_F(PlannerTest, WithdrawingKeepsWhatWasHeldBefore) {
  add_pods();
  const PlanRequest first = request_of(1024);
  const auto held = plan(first);
  ASSERT_TRUE(held);
  planner_.confirm(*held, first, pool_.now);
  PlanRequest longer = request_of(2048);
  auto again = plan(longer);
  ASSERT_TRUE(again);
  ASSERT_EQ(again->prefill, held->prefill);
  ASSERT_EQ(again->prefill_cached, Tokens(1024));
  (void)planner_.commit(*again, longer, pool_.now);
  planner_.withdraw(*again, longer);
  EXPECT_EQ(plan(longer)->prefill_cached, Tokens(1024));
}

TEST_F(PlannerTest, FollowsAHeldPrefix) {
  add_pods();
  const PlanRequest request = request_of(1024);
  const auto first = plan(request);
  {
    const PlanAccount account = planner_.commit(*first, request, pool_.now);
  }
  planner_.confirm(*first, request, pool_.now);
  pool_.now += std::chrono::hours(1);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto again = plan(request, seed);
    EXPECT_EQ(again->prefill, first->prefill);
    EXPECT_EQ(again->prefill_cached, Tokens(1023));
    EXPECT_EQ(again->decode_cached, Tokens(1023));
    EXPECT_LT(again->predicted_ttft_seconds, first->predicted_ttft_seconds);
  }
}

TEST_F(PlannerTest, ABeliefThatWasNotConfirmedIsForgotten) {
  add_pods();
  const PlanRequest request = request_of(1024);
  const auto first = plan(request);
  {
    const PlanAccount account = planner_.commit(*first, request, pool_.now);
  }
  EXPECT_EQ(plan(request)->prefill_cached, Tokens(1023));
  pool_.now += kBeliefTime + std::chrono::milliseconds(20);
  EXPECT_EQ(plan(request)->prefill_cached, Tokens(0));
}

TEST_F(PlannerTest, AccountsSettleToZero) {
  add_pods();
  std::mt19937_64 rng(9);
  std::vector<PlanAccount> open;
  for (int i = 0; i < 500; ++i) {
    const PlanRequest request = request_of(1 + static_cast<int>(rng() % 3000),
                                           rng() % 2 == 0 ? Split::kAlways : Split::kAuto);
    const auto plan = this->plan(request, rng());
    if (plan) open.push_back(planner_.commit(*plan, request, pool_.now));
    if (rng() % 3 == 0 && !open.empty()) {
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(rng() % open.size()));
    }
  }
  EXPECT_GT(open.size(), 50U);
  open.clear();
  for (const auto& entry : pool_.snapshot.pods) {
    const PodLoad& load = pool_.load(*entry);
    EXPECT_EQ(load.in_flight, 0);
    EXPECT_EQ(load.uncached_prefill_tokens, 0);
    EXPECT_EQ(load.running_decodes, 0);
    EXPECT_EQ(load.reserved_kv_tokens, 0);
  }
}

TEST_F(PlannerTest, DrawsAmongEqualsBySeedAlone) {
  add_pods();
  std::set<std::string> drawn;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    const auto first = plan(request_of(512), seed);
    drawn.insert(first->prefill->pod.name + first->decode->pod.name);
    EXPECT_EQ(plan(request_of(512), seed)->prefill, first->prefill);
  }
  EXPECT_EQ(drawn.size(), 4U);
}

TEST_F(PlannerTest, ATieGoesToTheLeastInFlight) {
  add_pods();
  // One token of prefill is far below 5 % of the predicted time.
  const auto a = LoadTicket::for_prefill(pool_.load(*p0_), Tokens(1));
  const auto b = LoadTicket::for_decode(pool_.load(*d0_), Tokens(1));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto plan = this->plan(request_of(2048), seed);
    EXPECT_EQ(plan->prefill->pod.name, "p1");
    EXPECT_EQ(plan->decode->pod.name, "d1");
  }
}

TEST_F(PlannerTest, NeverMeansNever) {
  add_pods();
  const auto plan = this->plan(request_of(3000, Split::kNever));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, PlanKind::kDecodeOnly);
  EXPECT_EQ(plan->prefill, nullptr);
  EXPECT_EQ(plan->reason, "the pool never splits");
}

TEST_F(PlannerTest, GivesTheConnectorsReason) {
  add_pods();
  PlanRequest request = request_of(3000);
  request.refuses_split = "n is 3";
  const auto plan = this->plan(request);
  EXPECT_EQ(plan->kind, PlanKind::kDecodeOnly);
  EXPECT_EQ(plan->reason, "n is 3");
}

TEST_F(PlannerTest, AutoSplitsWhereItIsCheaper) {
  add_pods();
  // Nobody decodes: computing the prompt on the spot saves the hand-off.
  EXPECT_EQ(plan(request_of(64, Split::kAuto))->kind, PlanKind::kDecodeOnly);
  // Streams run on both: a long prompt would hold them all up.
  std::vector<LoadTicket> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(LoadTicket::for_decode(pool_.load(*d0_), Tokens(500)));
    streams.push_back(LoadTicket::for_decode(pool_.load(*d1_), Tokens(500)));
  }
  EXPECT_EQ(plan(request_of(2048, Split::kAuto))->kind, PlanKind::kSplit);
  EXPECT_EQ(plan(request_of(2, Split::kAuto))->kind, PlanKind::kDecodeOnly);
}

TEST_F(PlannerTest, DecodesAloneWhereNoPrefillPodIsLeft) {
  add_pods();
  p0_->state.health = Health::kEjected;
  PlanRequest request = request_of(512);
  request.excluded_prefill = {"p1"};
  const auto plan = this->plan(request);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, PlanKind::kDecodeOnly);
  EXPECT_THAT(plan->reason, HasSubstr("no prefill pod"));
}

TEST_F(PlannerTest, PairsOnlyWhatCanExchangeKv) {
  add_pods();
  p0_->pod.facts.model_hash = "a";
  p1_->pod.facts.model_hash = "b";
  d0_->pod.facts.model_hash = "b";
  d1_->state.health = Health::kEjected;
  EXPECT_EQ(plan(request_of(512))->prefill->pod.name, "p1");
  p1_->pod.facts.layout_hash = 1;
  d0_->pod.facts.layout_hash = 2;
  const auto none = plan(request_of(512));
  EXPECT_EQ(none->kind, PlanKind::kDecodeOnly);
  EXPECT_EQ(none->reason, "no prefill pod fits a decode pod: models a and b");
  d0_->pod.facts.layout_hash = 0;  // not known: no reason to refuse
  EXPECT_EQ(plan(request_of(512))->prefill->pod.name, "p1");
  p1_->pod.facts.engine_version = "x 1";
  d0_->pod.facts.engine_version = "x 2";
  EXPECT_EQ(plan(request_of(512))->kind, PlanKind::kDecodeOnly);
}

TEST_F(PlannerTest, LeavesOutPodsThatAreNotWhatTheyAreTakenFor) {
  add_pods();
  p0_->state.unusable_because = "hands nothing over at 10.0.0.7";
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(plan(request_of(512), seed)->prefill->pod.name, "p1");
  }
  d0_->state.unusable_because = d1_->state.unusable_because = "serves another model";
  const auto none = plan(request_of(512));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("2 not usable, see GET /pods"));
}

TEST_F(PlannerTest, PairsTwoPodsOfRoleBothButNeverOneWithItself) {
  pool_.add("b0", Role::kBoth);
  EXPECT_EQ(plan(request_of(512))->kind, PlanKind::kDecodeOnly);
  pool_.add("b1", Role::kBoth);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto plan = this->plan(request_of(512), seed);
    EXPECT_EQ(plan->kind, PlanKind::kSplit);
    EXPECT_NE(plan->prefill, plan->decode);
  }
}

TEST_F(PlannerTest, NamesTheStageThatHasNoPod) {
  add_pods();
  d0_->state.health = Health::kEjected;
  pool_.load(*d1_).draining = true;
  for (const Split split : {Split::kAlways, Split::kAuto, Split::kNever}) {
    const auto plan = this->plan(request_of(512, split));
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(plan.error().stage, Stage::kDecode);
    EXPECT_TRUE(plan.error().retryable);
    EXPECT_THAT(plan.error().message, HasSubstr("1 draining, 1 ejected"));
  }
  const Snapshot empty{.version = 1, .pool = "chat", .pods = {}};
  const auto none = planner_.plan(request_of(512), empty, pool_.now, 1);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "pool chat has no decode pod");
}

// Against the naive way: where nothing ties, no other pair is cheaper by the routers' own terms.
TEST_F(PlannerTest, NoOtherPairIsClearlyCheaper) {
  std::mt19937_64 rng(31);
  for (int i = 0; i < 6; ++i) {
    pool_.add("p" + std::to_string(i), Role::kPrefill);
    pool_.add("d" + std::to_string(i), Role::kDecode);
  }
  for (int round = 0; round < 300; ++round) {
    std::vector<LoadTicket> tickets;
    for (const auto& entry : pool_.snapshot.pods) {
      const Tokens tokens(static_cast<std::int64_t>(rng() % 20000));
      tickets.push_back(entry->pod.role == Role::kPrefill
                            ? LoadTicket::for_prefill(pool_.load(*entry), tokens)
                            : LoadTicket::for_decode(pool_.load(*entry), tokens * 10));
    }
    const PlanRequest request = request_of(1 + static_cast<int>(rng() % 4000));
    const auto plan = this->plan(request, rng());
    ASSERT_TRUE(plan);
    const LatencyModel& model = pool_.model;
    const auto cost = [&](const PodEntry& prefill, const PodEntry& decode) {
      const PodLoad& p = pool_.load(prefill);
      const PodLoad& d = pool_.load(decode);
      const double compute = model.prefill_seconds(prefill.index, Tokens(0), request.prompt);
      const Bytes bytes(request.prompt.count() * (128 << 10));
      const double moving = model.transfer_seconds(prefill.index, decode.index, bytes);
      const Tokens kv = Tokens(d.reserved_kv_tokens) + request.prompt;
      return model.prefill_seconds(prefill.index, PromptWork::waiting_at(p)) + compute +
             std::max(0.0, moving - compute) + model.handoff_seconds() +
             model.step_seconds(decode.index, d.running_decodes + 1,
                                static_cast<double>(kv.count())) *
                 (1 + kPaceWeight * 127);
    };
    const double chosen = cost(*plan->prefill, *plan->decode);
    for (const auto& prefill : pool_.snapshot.pods) {
      for (const auto& decode : pool_.snapshot.pods) {
        if (prefill->pod.role != Role::kPrefill || decode->pod.role != Role::kDecode) continue;
        EXPECT_LE(chosen, cost(*prefill, *decode) + 0.05 * plan->predicted_ttft_seconds + 1e-9);
      }
    }
  }
}

TEST_F(PlannerTest, ExplainsItselfInJson) {
  add_pods();
  p0_->state.health = Health::kEjected;
  PlanRequest request = request_of(512);
  request.explain = true;
  const auto plan = this->plan(request);
  const auto json = nlohmann::json::parse(explain_json(*plan));
  EXPECT_EQ(json["kind"], "split");
  EXPECT_EQ(json["pool"], "chat");
  EXPECT_EQ(json["prefill"], "p1");
  EXPECT_EQ(json["prompt_tokens"], 512);
  ASSERT_EQ(json["prefill_candidates"].size(), 2U);
  EXPECT_EQ(json["prefill_candidates"][1]["rejected"], "ejected");
  EXPECT_TRUE(json["prefill_candidates"][0]["terms"].contains("queue"));
  EXPECT_TRUE(json["decode_candidates"][0]["terms"].contains("transfer"));
  EXPECT_FALSE(json.contains("left_out"));
}

TEST_F(PlannerTest, KeepsAnExplanationWithinItsBytes) {
  for (int i = 0; i < 200; ++i) {
    pool_.add("prefill-" + std::string(180, '\xC3') + std::to_string(i), Role::kPrefill);
    pool_.add("decode-" + std::string(180, '"') + std::to_string(i), Role::kDecode);
  }
  PlanRequest request = request_of(512);
  request.explain = true;
  const auto plan = this->plan(request);
  EXPECT_EQ(plan->prefill_candidates.size(), 200U);
  const std::string text = explain_json(*plan);
  EXPECT_LE(text.size(), kExplainBytes);
  EXPECT_GT(text.size(), kExplainBytes / 2);
  for (const char c : text) EXPECT_TRUE(c >= 0x20 && c <= 0x7E);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["left_out"],
            400 - json["prefill_candidates"].size() - json["decode_candidates"].size());
}

}  // namespace
}  // namespace baton::orchestrator
