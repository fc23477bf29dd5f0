#include "decode_router/decode_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/picking/cost_terms.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::decode {
namespace {

using testing::ElementsAre;

class DecodeRouterTest : public testing::Test {
 protected:
  Candidates pick(const PickRequest& request, bool single = false) {
    Shortlists lists =
        shortlists(single ? Wanted::kSingles : Wanted::kPairs, request, pool_.snapshot,
                   pool_.picking(blocks_, request.prompt), pool_.now);
    return single ? lists.singles : lists.pairs;
  }
  Candidates pick(bool single = false) { return pick(request_, single); }
  TestPool pool_;
  PromptBlocks blocks_ = prompt_of(1024);
  PickRequest request_{.prompt = Tokens(1024), .expected_output = Tokens(100)};
};

TEST_F(DecodeRouterTest, PrefersTheLeastRunning) {
  const PodEntry& two = pool_.add("two", Role::kDecode);
  const PodEntry& one = pool_.add("one", Role::kDecode);
  pool_.add("none", Role::kDecode);
  const auto a = LoadTicket::for_decode(pool_.load(two), Tokens(10));
  const auto b = LoadTicket::for_decode(pool_.load(two), Tokens(10));
  const auto c = LoadTicket::for_decode(pool_.load(one), Tokens(10));
  EXPECT_THAT(names_of(pick()), ElementsAre("none", "one", "two"));
}

TEST_F(DecodeRouterTest, WaitsForRoomWhereTheKvIsTaken) {
  const PodEntry& full = pool_.add("full", Role::kDecode);
  const PodEntry& roomy = pool_.add("roomy", Role::kDecode);
  pool_.state_of("full").kv_capacity = Tokens(10'000);
  const auto a = LoadTicket::for_decode(pool_.load(full), Tokens(9'500));
  const auto b = LoadTicket::for_decode(pool_.load(roomy), Tokens(20'000));
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("roomy", "full"));
  EXPECT_EQ(term_of(candidates[0], "room"), 0.0);  // nobody knows how much it has
  // 1,124 tokens are wanted where 500 are free: some of its one stream's time.
  const double stream = 100 * term_of(candidates[1], "step");
  EXPECT_NEAR(term_of(candidates[1], "room"), stream * 624 / 9500, 1e-9);
  pool_.state_of("full").kv_capacity = Tokens(100'000);
  EXPECT_EQ(term_of(pick()[0], "room"), 0.0);
}

TEST_F(DecodeRouterTest, WhatPromptsStopAStreamCountsWhole) {
  const PodEntry& mixed = pool_.add("mixed", Role::kBoth);
  pool_.add("quiet", Role::kBoth);
  PrefillWatch& prefills = pool_.load(mixed).prefills;
  for (int second = 60; second > 0; --second) {
    const TimePoint at = pool_.now - std::chrono::seconds(second);
    (void)prefills.done(
        {at, at + std::chrono::milliseconds(500), PromptWork::of(Tokens(0), Tokens(5000)), true});
  }
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("quiet", "mixed"));
  const double share = pool_.load(mixed).still_share(pool_.now);
  EXPECT_NEAR(share, 0.5, 0.08);
  EXPECT_NEAR(term_of(candidates[1], "tokens") / term_of(candidates[0], "tokens"),
              1 + share / (1 - share) / kPaceWeight, 1e-9);
  EXPECT_EQ(term_of(candidates[1], "step"), term_of(candidates[0], "step"));
}

TEST_F(DecodeRouterTest, PrefersTheLeastReservedKv) {
  const PodEntry& much = pool_.add("much", Role::kDecode);
  const PodEntry& little = pool_.add("little", Role::kDecode);
  const auto a = LoadTicket::for_decode(pool_.load(much), Tokens(100000));
  const auto b = LoadTicket::for_decode(pool_.load(little), Tokens(1000));
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("little", "much"));
  EXPECT_LT(term_of(candidates[0], "step"), term_of(candidates[1], "step"));
}

TEST_F(DecodeRouterTest, PrefersAHeldPrefixWhichNeedsNoTransfer) {
  pool_.add("other", Role::kDecode);
  const PodEntry& holder = pool_.add("holder", Role::kDecode);
  pool_.prefixes.confirm(blocks_.token_chain, holder.index, pool_.now);
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("holder", "other"));
  EXPECT_LT(term_of(candidates[0], "transfer"), term_of(candidates[1], "transfer"));
  EXPECT_EQ(term_of(candidates[0], "prefill"), -1.0);
}

TEST_F(DecodeRouterTest, CountsThePromptWhereThePodComputesItItself) {
  const PodEntry& busy = pool_.add("busy", Role::kBoth);
  pool_.add("idle", Role::kBoth);
  const auto ticket = LoadTicket::for_decode_only(pool_.load(busy), Tokens(500), Tokens(700));
  const auto candidates = pick(true);
  EXPECT_THAT(names_of(candidates), ElementsAre("idle", "busy"));
  EXPECT_EQ(term_of(candidates[0], "transfer"), -1.0);
  EXPECT_EQ(term_of(candidates[0], "harm"), 0.0);
  // One stream waits for the tokens, but not for what a prompt takes however short.
  EXPECT_NEAR(term_of(candidates[1], "harm"),
              term_of(candidates[1], "prefill") - LatencyPrior().prefill_seconds, 1e-9);
  EXPECT_GT(term_of(candidates[1], "admit"), 0.0);
}

TEST_F(DecodeRouterTest, PrefersAPodWithTheAdapter) {
  pool_.add("without", Role::kDecode);
  pool_.add("with", Role::kDecode).state.running_loras = {"sql"};
  EXPECT_THAT(names_of(pick({.prompt = Tokens(1024), .lora = "sql"})),
              ElementsAre("with", "without"));
}

TEST_F(DecodeRouterTest, TakesNoPrefillPod) {
  pool_.add("p", Role::kPrefill);
  pool_.add("d", Role::kDecode);
  pool_.add("b", Role::kBoth);
  EXPECT_THAT(names_of(pick()), ElementsAre("d", "b"));
}

TEST_F(DecodeRouterTest, EveryTermAddsToTheCost) {
  pool_.add("d", Role::kDecode);
  for (const bool whole : {false, true}) {
    const PlanCandidate candidate = pick(whole).at(0);
    double sum = 0.0;
    for (const PlanTerm& term : candidate.score.terms()) sum += term.seconds;
    EXPECT_DOUBLE_EQ(sum, candidate.score.seconds());
  }
}

}  // namespace
}  // namespace baton::decode
