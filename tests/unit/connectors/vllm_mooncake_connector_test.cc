// Against vLLM 0.32.0, whose files the cases name (kv_connector/v1/mooncake/…).
#include "adapters/engines/vllm/mooncake_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/connectors/connector_requests.h"

namespace baton::adapters {
namespace {

using nlohmann::json;
using testing::parsed;

class VllmMooncakeTest : public ::testing::Test {
 protected:
  VllmMooncakeTest() {
    auto prefill = std::make_shared<PodEntry>();
    prefill->pod.name = "p0";
    facts = &prefill->pod.facts;
    facts->engine_id = "e-0";
    facts->kv_address = "10.0.0.7:8998";
    plan.prefill = prefill;
    plan.decode = std::make_shared<PodEntry>();
  }

  VllmMooncakeConnector connector;
  HandoffKey key{TransferId{1, 6}, "r1", {}};  // number: 3
  Plan plan;
  EngineFacts* facts;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_completion_tokens":64,"min_tokens":3,)"
      R"("stop":["x"],"stop_token_ids":[2],"ignore_eos":false,"seed":12345678901234567890})";
  OpenAiRequest request = parsed(Api::kChat, body);
};

const std::string kMooncakeTransfer = "xfer-00000000000000010000000000000006";

// mooncake_connector.py:1150 keeps blocks only of requests that ended by their length; v1/core/
// sched/utils.py:98 looks at the end token and stop tokens before that.
TEST_F(VllmMooncakeTest, PrefillGetsOneTokenAndNothingElseThatCouldEndIt) {
  const auto leg = connector.prefill_leg(request, plan, key);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->body,
            R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":false,)"
            R"("max_completion_tokens":1,"ignore_eos":true,"seed":12345678901234567890,)"
            R"("max_tokens":1,"kv_transfer_params":{"do_remote_decode":true,)"
            R"("do_remote_prefill":false,"transfer_id":")" +
                kMooncakeTransfer + R"("}})");
  EXPECT_TRUE(leg->fields.empty());
}

// mooncake_connector.py:1052.
TEST_F(VllmMooncakeTest, DecodeIsToldEngineAndBootstrapServer) {
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->body,
            body.substr(0, body.size() - 1) +
                R"(,"kv_transfer_params":{"do_remote_decode":false,"do_remote_prefill":true,)"
                R"("transfer_id":")" +
                kMooncakeTransfer +
                R"(","remote_engine_id":"e-0","remote_bootstrap_addr":"http://10.0.0.7:8998"}})");
  EXPECT_TRUE(leg->fields.empty());
}

TEST_F(VllmMooncakeTest, ThePromptIsComputedByTheRankWhoseEngineDecodeIsTold) {
  facts->rank_engine_ids = {"e-0", "e-1"};
  const auto prefill = connector.prefill_leg(request, plan, key);
  ASSERT_EQ(prefill->fields.size(), 1U);
  EXPECT_EQ(prefill->fields[0].first, "x-data-parallel-rank");
  EXPECT_EQ(prefill->fields[0].second, "1");
  const auto decode = connector.decode_leg(request, plan, key, nullptr);
  EXPECT_EQ(json::parse(decode->body).at("kv_transfer_params").at("remote_engine_id"), "e-1");
}

TEST_F(VllmMooncakeTest, WithoutTheEngineThereIsNoHandoff) {
  facts->engine_id.clear();
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  ASSERT_FALSE(leg.has_value());
  EXPECT_EQ(leg.error().stage, Stage::kHandoff);
  EXPECT_EQ(connector.on_leg_failure(leg.error()), LegAction::kRetryPair);
}

// mooncake_connector.py:1022 asserts that a producer is not told to fetch.
TEST_F(VllmMooncakeTest, WithoutASplitThereAreNoParameters) {
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, body);
}

TEST_F(VllmMooncakeTest, APrefillThatStoppedKeptNoBlocks) {
  const auto check = [&](const std::string& answer) {
    return connector.check_prefill(request, plan, {200, answer});
  };
  EXPECT_TRUE(check(R"({"choices":[{"finish_reason":"length"}]})").has_value());
  EXPECT_TRUE(check(R"({"choices":[{"finish_reason":"tool_calls"}]})").has_value());
  for (const std::string answer :
       {R"({"choices":[{"finish_reason":"stop"}]})", R"({"choices":[{"finish_reason":null}]})",
        R"({"choices":[{"finish_reason":"length"},{"finish_reason":"length"}]})",
        R"({"choices":[]})", R"({"choices":[1]})", "{}", "[]", ""}) {
    const auto checked = check(answer);
    ASSERT_FALSE(checked.has_value()) << answer;
    EXPECT_EQ(checked.error().stage, Stage::kHandoff);
    EXPECT_EQ(connector.on_leg_failure(checked.error()), LegAction::kRetryPair);
  }
}

TEST_F(VllmMooncakeTest, RefusesWhatHasSeveralReaders) {
  EXPECT_EQ(connector.refuses_split(request), "");
  EXPECT_EQ(
      connector.refuses_split(parsed(Api::kCompletions, R"({"model":"m","prompt":"x","n":2})")),
      "n > 1");
}

TEST_F(VllmMooncakeTest, AnInternalErrorOfTheDecodePodIsAFailedHandoff) {
  EXPECT_EQ(connector.read_error(500, "", Stage::kDecode).stage, Stage::kHandoff);
  EXPECT_EQ(connector.read_error(500, "", Stage::kPrefill).stage, Stage::kPrefill);
}

Pod pod_of(Role role) {
  Pod pod;
  pod.role = role;
  pod.host = "10.0.0.7";
  pod.bootstrap_port = 8999;
  return pod;
}

Result<EngineFacts> facts_of(const std::string& registry, Role role = Role::kPrefill) {
  const std::string bodies[] = {R"({"version":"0.32.0"})",
                                R"({"data":[{"id":"m","max_model_len":2048,"owned_by":"vllm"}]})",
                                registry};
  return VllmMooncakeConnector().read_facts(pod_of(role), bodies);
}

// mooncake_utils.py (MooncakeBootstrapServer.query).
TEST(VllmMooncakeFacts, AProducersEngineIsInItsBootstrapServer) {
  EXPECT_EQ(VllmMooncakeConnector().facts_targets(pod_of(Role::kPrefill)),
            (std::vector<FactsTarget>{{"/version"}, {"/v1/models"}, {"/query", 8999}}));
  const auto facts = facts_of(R"({"0":{"engine_id":"e-0","worker_addr":)"
                              R"({"0":{"0":"tcp://10.0.0.7:1"},"1":{"0":"tcp://10.0.0.7:2"}}}})");
  ASSERT_TRUE(facts.has_value()) << facts.error().message;
  EXPECT_EQ(facts->engine_id, "e-0");
  EXPECT_TRUE(facts->rank_engine_ids.empty());
  EXPECT_EQ(facts->kv_address, "10.0.0.7:8999");
  EXPECT_EQ(facts->tensor_parallel, 2);
  EXPECT_EQ(facts->max_context, Tokens(2048));
}

// mooncake_connector.py:2444 asks a URL that is made of the address.
TEST(VllmMooncakeFacts, AnIpv6AddressIsInBrackets) {
  Pod pod = pod_of(Role::kPrefill);
  pod.host = "fd00::7";
  const std::string bodies[] = {R"({"version":"0.32.0"})",
                                R"({"data":[{"id":"m","max_model_len":2048,"owned_by":"vllm"}]})",
                                R"({"0":{"engine_id":"e-0"}})"};
  const auto facts = VllmMooncakeConnector().read_facts(pod, bodies);
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->kv_address, "[fd00::7]:8999");
}

TEST(VllmMooncakeFacts, RanksAreInTheirOrder) {
  std::string registry = "{";
  for (int rank = 10; rank >= 0; --rank) {
    registry += R"(")" + std::to_string(rank) + R"(":{"engine_id":"e-)" + std::to_string(rank) +
                R"("})" + (rank == 0 ? "}" : ",");
  }
  const auto facts = facts_of(registry);
  ASSERT_TRUE(facts.has_value());
  ASSERT_EQ(facts->rank_engine_ids.size(), 11U);
  EXPECT_EQ(facts->rank_engine_ids[2], "e-2");
  EXPECT_EQ(facts->rank_engine_ids[10], "e-10");
}

TEST(VllmMooncakeFacts, ADecodePodHasNoBootstrapServer) {
  EXPECT_EQ(VllmMooncakeConnector().facts_targets(pod_of(Role::kDecode)),
            (std::vector<FactsTarget>{{"/version"}, {"/v1/models"}}));
  const auto facts = facts_of("", Role::kDecode);
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->engine_id, "");
  EXPECT_EQ(facts->kv_address, "");
}

TEST(VllmMooncakeFacts, ARegistryThatIsNoneIsAskedAgain) {
  for (const std::string registry :
       {"", "[]", "{}", R"({"0":{}})", R"({"0":1})", R"({"x":{"engine_id":"e"}})",
        R"({"":{"engine_id":"e"}})", R"({"123456":{"engine_id":"e"}})",
        R"({"1":{"engine_id":"e-1"}})", R"({"0":{"engine_id":"e-0"},"2":{"engine_id":"e-2"}})"}) {
    const auto facts = facts_of(registry);
    ASSERT_FALSE(facts.has_value()) << registry;
    EXPECT_TRUE(facts.error().retryable);
  }
}

}  // namespace
}  // namespace baton::adapters
