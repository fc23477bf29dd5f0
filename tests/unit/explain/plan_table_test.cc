#include "orchestrator/explain/plan_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "orchestrator/planning/explain.h"
#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kPlan = R"({
  "kind": "split", "pool": "chat", "prefill": "p0", "decode": "d1", "prompt_tokens": 4096,
  "prefill_cached": 2048, "decode_cached": 0, "ttft_ms": 250.25, "tpot_ms": 8.5,
  "reason": "least predicted cost of 2 pairs", "cost_ms": 1330.0,
  "terms": {"queue": 0, "prefill": 230, "handoff": 10, "tokens": 1090},
  "alternatives": [
    {"what": "p1 instead of p0, if its queue were 22.0 ms shorter"},
    {"what": "decode-only on d1 instead costs 260.0 ms more: prefill +100.0, queue +100.0, harm to running streams +50.0 and more"}],
  "prefill_candidates": [
    {"pod": "p0", "cached": 2048, "cost_ms": 230, "terms": {"queue": 0, "prefill": 230}},
    {"pod": "p1", "cached": 0, "cost_ms": 252, "terms": {"queue": 22, "prefill": 230}},
    {"pod": "p2", "cached": 0, "rejected": "ejected"}],
  "decode_candidates": [
    {"pod": "d1", "cached": 0, "cost_ms": 1100, "terms": {"transfer": 10, "tokens": 1090}},
    {"pod": "d0", "cached": 0, "cost_ms": 1150, "terms": {"transfer": 10, "tokens": 1140},
     "rejected": "costs more"}]})";

TEST(PlanTable, ShowsStagesChoiceAndWhatWouldChangeIt) {
  const auto table = plan_table(kPlan);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(*table, R"(pool chat, 4096 prompt tokens; times in ms, sums of a stage by itself

stage    pod  cached  queue  prefill  total  why
prefill  p0     2048    0.0    230.0  230.0  chosen
prefill  p1        0   22.0    230.0  252.0  +22.0
prefill  p2        0      -        -      -  ejected

stage   pod  cached  transfer  tokens   total  why
decode  d1        0      10.0  1090.0  1100.0  chosen
decode  d0        0      10.0  1140.0  1150.0  +50.0

chosen    p0 -> d1
because   least predicted cost of 2 pairs
cost      1330.0 = queue 0.0 + prefill 230.0 + handoff 10.0 + tokens 1090.0
predicted TTFT 250.2 ms, TPOT 8.5 ms

what would change the choice
  p1 instead of p0, if its queue were 22.0 ms shorter
  decode-only on d1 instead costs 260.0 ms more: prefill +100.0, queue +100.0, harm to running
    streams +50.0 and more
)");
}

TEST(PlanTable, SaysWhatMissesTheSlo) {
  auto plan = nlohmann::ordered_json::parse(kPlan);
  auto& verdict =
      plan["verdict"] = {{"ttft_ms", 250.25},   {"tpot_ms", 9.25},  {"ttft_over_ms", 0.0},
                         {"tpot_over_ms", 0.0}, {"refused", false}, {"retry_after_s", 0}};
  EXPECT_EQ(*plan_table(plan.dump()), *plan_table(kPlan));
  verdict["tpot_over_ms"] = 1.25;
  EXPECT_THAT(*plan_table(plan.dump()),
              HasSubstr("TPOT 8.5 ms\nmisses its SLO: TPOT 9.2 ms is 1.2 ms too long\n"));
  verdict["ttft_over_ms"] = 50.0;
  verdict["refused"] = true;
  verdict["retry_after_s"] = 7;
  EXPECT_THAT(*plan_table(plan.dump()),
              HasSubstr("misses its SLO: TTFT 250.2 ms is 50.0 ms too long, TPOT 9.2 ms is 1.2 ms "
                        "too long; it would be\n  refused, to come again in 7 s\n"));
}

TEST(PlanTable, KeepsToItsColumnsWhateverItIsGiven) {
  TestPool pool;
  const std::string deployment = "a-model-server-of-a-large-deployment-in-kubernetes-";
  for (int i = 0; i < 60; ++i) {
    pool.add(deployment + "prefill-" + std::to_string(i), Role::kPrefill);
    pool.add(deployment + "decode-" + std::to_string(i), Role::kBoth);
  }
  pool.state_of(deployment + "prefill-3").unusable_because = "hands nothing over";
  Planner planner(pool.loads, pool.prefixes, pool.model);
  for (const Split split : {Split::kAlways, Split::kNever}) {
    PlanRequest request;
    request.prompt = Tokens(1'000'000);
    request.split = split;
    request.explain = true;
    const auto plan = planner.plan(request, pool.snapshot, pool.now, 0);
    ASSERT_TRUE(plan);
    const auto table = plan_table(plan_json(*plan));
    ASSERT_TRUE(table);
    std::istringstream lines(*table);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
    EXPECT_THAT(*table, HasSubstr("chosen\n"));
    EXPECT_THAT(*table, HasSubstr("~")) << "a name that is cut shows it";
    EXPECT_THAT(*table, HasSubstr(" more\n"));
  }
}

TEST(PlanTable, RefusesWhatIsNoPlan) {
  for (const char* bad : {"", "{", "[]", "{}", R"({"kind":"split"})", "null"}) {
    EXPECT_FALSE(plan_table(bad)) << bad;
  }
}

}  // namespace
}  // namespace baton::orchestrator
