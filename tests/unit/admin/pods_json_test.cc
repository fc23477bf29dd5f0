#include "orchestrator/admin/pods_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::json;

Json pods_of(TestPool& pool) {
  const std::shared_ptr<const Snapshot> snapshots[] = {std::make_shared<Snapshot>(pool.snapshot)};
  return Json::parse(pods_json(snapshots, pool.loads, pool.now))["pools"][0]["pods"];
}

TEST(PodsJson, SaysWhyAPodCannotBeUsed) {
  TestPool pool;
  pool.add("p0", Role::kPrefill).state.unusable_because = "hands nothing over";
  pool.add("d0", Role::kDecode);
  const Json pods = pods_of(pool);
  EXPECT_EQ(pods[0]["health"], "healthy");
  EXPECT_EQ(pods[0]["unusable_because"], "hands nothing over");
  EXPECT_EQ(pods[1]["unusable_because"], nullptr);
}

TEST(PodsJson, ShowsWhatWasLearned) {
  TestPool pool;
  pool.add("p0", Role::kPrefill);
  LatencyModels latencies;
  LearnedSizesOfPools sizes;
  sizes.of("chat").output_tokens = 99;
  latencies.of("chat").assume(0, {1.5, 0.5});
  const std::shared_ptr<const Snapshot> snapshots[] = {std::make_shared<Snapshot>(pool.snapshot)};
  const Json shown =
      Json::parse(pods_json(snapshots, pool.loads, pool.now, {&latencies, &sizes}))["pools"][0];
  EXPECT_EQ(shown["learned"]["output_tokens"], 99);
  EXPECT_NEAR(shown["learned"]["step_seconds"].get<double>(), LatencyPrior{}.step_seconds, 1e-9);
  EXPECT_NEAR(shown["pods"][0]["learned"]["prefill_factor"].get<double>(), 1.5, 1e-6);
  EXPECT_NEAR(shown["pods"][0]["learned"]["step_factor"].get<double>(), 0.5, 1e-6);
}

TEST(PodsJson, ListsTheDecodePodsThatAPrefillPodCannotPairWith) {
  TestPool pool;
  PodEntry& p0 = pool.add("p0", Role::kPrefill);
  PodEntry& d0 = pool.add("d0", Role::kDecode);
  PodEntry& d1 = pool.add("d1", Role::kDecode);
  PodEntry& b0 = pool.add("b0", Role::kBoth);
  pool.add("d2", Role::kDecode);
  p0.pod.facts.engine_version = "vLLM 0.31.0";
  for (PodEntry* newer : {&d0, &d1}) newer->pod.facts.engine_version = "vLLM 0.32.0";
  b0.pod.facts.engine_version = "vLLM 0.31.0";
  b0.pod.facts.block_tokens = Tokens(32);
  p0.pod.facts.block_tokens = Tokens(16);
  const Json pods = pods_of(pool);
  const Json apart = Json::parse(R"([
      {"because": "blocks of 16 and of 32 tokens", "pods": ["b0"]},
      {"because": "vLLM 0.31.0 and vLLM 0.32.0", "pods": ["d0", "d1"]}])");
  EXPECT_EQ(pods[0]["cannot_pair_with"], apart);
  EXPECT_FALSE(pods[1].contains("cannot_pair_with"));
  const Json of_both =
      Json::parse(R"([{"because": "vLLM 0.31.0 and vLLM 0.32.0", "pods": ["d0", "d1"]}])");
  EXPECT_EQ(pods[3]["cannot_pair_with"], of_both);
}

}  // namespace
}  // namespace baton::orchestrator
