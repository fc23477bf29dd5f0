#include "prefill_router/prefill_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/picking/test_pool.h"

namespace baton::prefill {
namespace {

using testing::ElementsAre;

class PrefillRouterTest : public testing::Test {
 protected:
  Candidates pick(const PickRequest& request, const PromptBlocks& blocks) {
    return shortlist(request, pool_.snapshot, pool_.picking(blocks, request.prompt), pool_.now);
  }
  Candidates pick(const PickRequest& request) { return pick(request, blocks_); }
  Candidates pick(bool explain = false) {
    return pick({.prompt = Tokens(1024), .explain = explain});
  }
  TestPool pool_;
  PromptBlocks blocks_ = prompt_of(1024);
};

TEST_F(PrefillRouterTest, PrefersTheLeastUncachedTokensInFlight) {
  const PodEntry& busy = pool_.add("busy", Role::kPrefill);
  const PodEntry& busier = pool_.add("busier", Role::kPrefill);
  pool_.add("idle", Role::kPrefill);
  const auto a = LoadTicket::for_prefill(pool_.load(busy), Tokens(1000));
  const auto b = LoadTicket::for_prefill(pool_.load(busier), Tokens(3000));
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("idle", "busy", "busier"));
  EXPECT_GT(term_of(candidates[2], "queue"), term_of(candidates[1], "queue"));
  EXPECT_EQ(term_of(candidates[0], "queue"), 0.0);
}

TEST_F(PrefillRouterTest, PrefersAHeldPrefixUntilItsQueueIsLonger) {
  const PodEntry& holder = pool_.add("holder", Role::kPrefill);
  pool_.add("other", Role::kPrefill);
  pool_.prefixes.confirm(std::span(blocks_.token_chain).first(8), holder.index, pool_.now);
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("holder", "other"));
  EXPECT_EQ(candidates[0].cached, Tokens(512));
  EXPECT_LT(term_of(candidates[0], "prefill"), term_of(candidates[1], "prefill"));
  const auto ticket = LoadTicket::for_prefill(pool_.load(holder), Tokens(600));
  EXPECT_THAT(names_of(pick()), ElementsAre("other", "holder"));
}

TEST_F(PrefillRouterTest, AQueueShrinksWhileAPromptIsComputed) {
  const PodEntry& busy = pool_.add("busy", Role::kPrefill);
  PodLoad& load = pool_.load(busy);
  const auto a = LoadTicket::for_prefill(load, Tokens(4000));
  const auto b = LoadTicket::for_prefill(load, Tokens(4000));
  load.busy_since = pool_.now;
  const double whole = term_of(pick()[0], "queue");
  pool_.now += std::chrono::milliseconds(50);
  EXPECT_NEAR(term_of(pick()[0], "queue"), whole - 0.05, 1e-6);
  // How long the current prompt is nobody knows: no more than a usual one is taken off.
  pool_.now += std::chrono::hours(1);
  EXPECT_NEAR(term_of(pick()[0], "queue"), whole / 2, 1e-6);
  pool_.now -= std::chrono::hours(2);  // a clock that jumps
  EXPECT_NEAR(term_of(pick()[0], "queue"), whole, 1e-6);
}

TEST_F(PrefillRouterTest, SparesPodsWhoseStreamsWouldWait) {
  const PodEntry& streams = pool_.add("streams", Role::kBoth);
  pool_.add("idle", Role::kBoth);
  std::vector<LoadTicket> tickets;
  for (int i = 0; i < 3; ++i) {
    tickets.push_back(LoadTicket::for_decode(pool_.load(streams), Tokens(100)));
  }
  const auto candidates = pick();
  EXPECT_THAT(names_of(candidates), ElementsAre("idle", "streams"));
  EXPECT_EQ(term_of(candidates[0], "harm"), 0.0);
  const double harm = term_of(candidates[1], "harm");
  EXPECT_NEAR(harm, 3 * (term_of(candidates[1], "prefill") - LatencyPrior().prefill_seconds), 1e-9);
  const auto light = pick({.prompt = Tokens(1024), .stream_weight = 0.1});
  EXPECT_NEAR(term_of(light[1], "harm"), harm / 10, 1e-9);
}

TEST_F(PrefillRouterTest, AlwaysLeavesTheLastTokenToCompute) {
  const PodEntry& holder = pool_.add("holder", Role::kPrefill);
  pool_.prefixes.confirm(blocks_.token_chain, holder.index, pool_.now);
  EXPECT_EQ(pick()[0].cached, Tokens(1023));
}

TEST_F(PrefillRouterTest, MatchesTextWhereIdsAreUnknown) {
  const PodEntry& holder = pool_.add("holder", Role::kPrefill);
  const auto blocks = PromptBlocks::from_text(std::string(1024, 'x'), "", "");
  pool_.prefixes.confirm(std::span(blocks.text_chain).first(2), holder.index, pool_.now);
  const auto candidates = pick({.prompt = Tokens(300)}, blocks);
  EXPECT_EQ(candidates[0].cached, Tokens(150));
}

TEST_F(PrefillRouterTest, PrefersAPodWithTheAdapter) {
  for (const char* name : {"full", "loadable", "resident"}) {
    pool_.add(name, Role::kPrefill).state.max_loras = 1;
  }
  pool_.state_of("full").running_loras = {"other"};
  pool_.state_of("resident").running_loras = {"sql"};
  EXPECT_THAT(names_of(pick({.prompt = Tokens(1024), .lora = "sql"})),
              ElementsAre("resident", "loadable", "full"));
}

TEST_F(PrefillRouterTest, LeavesOutPodsThatDoNotServeTheAdapter) {
  pool_.add("with", Role::kPrefill).pod.facts.served = {"base", "sql"};
  pool_.add("without", Role::kPrefill).pod.facts.served = {"base"};
  pool_.add("unknown", Role::kPrefill);
  EXPECT_THAT(names_of(pick({.prompt = Tokens(1024), .lora = "sql"})),
              ElementsAre("with", "unknown"));
  EXPECT_THAT(names_of(pick()), ElementsAre("with", "without", "unknown"));
}

TEST_F(PrefillRouterTest, FiltersAndSaysWhy) {
  pool_.add("good", Role::kPrefill);
  pool_.add("decode", Role::kDecode);
  pool_.add("ejected", Role::kPrefill).state.health = Health::kEjected;
  pool_.add("unknown", Role::kPrefill).state.health = Health::kUnknown;
  pool_.add("drained", Role::kPrefill).state.health = Health::kDraining;
  pool_.load(pool_.add("draining", Role::kPrefill)).draining = true;
  PodEntry& full = pool_.add("full", Role::kPrefill);
  full.pod.max_running = 1;
  const auto ticket = LoadTicket::for_prefill(pool_.load(full), Tokens(1));
  pool_.add("failed", Role::kBoth);
  const std::vector<std::string> excluded = {"failed"};

  EXPECT_THAT(names_of(pick({.prompt = Tokens(1024), .excluded = excluded})), ElementsAre("good"));
  std::map<std::string, std::string> reasons;
  for (const auto& candidate :
       pick({.prompt = Tokens(1024), .excluded = excluded, .explain = true})) {
    reasons[candidate.pod->pod.name] = candidate.rejected_because;
  }
  EXPECT_EQ(reasons,
            (std::map<std::string, std::string>{{"good", ""},
                                                {"ejected", "ejected"},
                                                {"unknown", "not heard of yet"},
                                                {"drained", "draining"},
                                                {"draining", "draining"},
                                                {"full", "at max_running"},
                                                {"failed", "already failed this request"}}));
}

TEST_F(PrefillRouterTest, CutsToEightAndExplainsTheRest) {
  std::vector<LoadTicket> tickets;
  for (int i = 0; i < 20; ++i) {
    const PodEntry& entry = pool_.add("p" + std::to_string(i), Role::kPrefill);
    tickets.push_back(LoadTicket::for_prefill(pool_.load(entry), Tokens(2000 - 100 * i)));
  }
  const auto candidates = pick();
  ASSERT_EQ(candidates.size(), kShortlistPods);
  EXPECT_EQ(candidates[0].pod->pod.name, "p19");
  EXPECT_EQ(candidates[7].pod->pod.name, "p12");
  const auto explained = pick(true);
  EXPECT_EQ(explained.size(), 20U);
  EXPECT_EQ(names_of(explained), names_of(candidates));
  EXPECT_EQ(explained[8].rejected_because, "costs more");
}

}  // namespace
}  // namespace baton::prefill
