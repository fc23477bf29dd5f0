// Against vLLM 0.32.0, whose files the cases name (kv_connector/v1/nixl/…).
#include "adapters/engines/vllm/nixl_push_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/connectors/connector_requests.h"

namespace baton::adapters {
namespace {

using nlohmann::json;
using testing::parsed;

// push_scheduler.py:279.
json offered() {
  return {{"do_remote_prefill", true},
          {"do_remote_decode", false},
          {"remote_block_ids", {{7, 8, 9}}},
          {"remote_engine_id", "e-0"},
          {"remote_request_id", "chatcmpl-r1-0a1b2c3d"},
          {"remote_host", "10.0.0.7"},
          {"remote_port", 5600},
          {"tp_size", 2},
          {"dcp_size", 1},
          {"pp_size", 1},
          {"remote_num_tokens", 40},
          {"transfer_mode", "push"}};
}

std::string answer_with(const json& params) {
  return json{{"choices", json::array()},
              {"usage", {{"prompt_tokens", 40}}},
              {"kv_transfer_params", params}}
      .dump();
}

json offered_with(const std::string& key, const json& value) {
  json params = offered();
  params[key] = value;
  return params;
}

class VllmNixlPushTest : public ::testing::Test {
 protected:
  VllmNixlPushTest() {
    auto prefill = std::make_shared<PodEntry>();
    prefill->pod.name = "p0";
    facts = &prefill->pod.facts;
    facts->block_tokens = Tokens(16);
    facts->engine_id = "e-0";
    facts->kv_address = "10.0.0.7:5600";
    facts->tensor_parallel = 2;
    facts->pipeline_parallel = 1;
    plan.prefill = prefill;
    plan.decode = std::make_shared<PodEntry>();
  }
  [[nodiscard]] static std::string id_of(const LegRequest& leg) {
    for (const auto& [name, value] : leg.fields) {
      if (name == "x-request-id") return value;
    }
    return {};
  }

  VllmNixlPushConnector connector;
  HandoffKey key{TransferId{1, 2}, "r1", {}};
  Plan plan;
  EngineFacts* facts;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_tokens":64,"seed":12345678901234567890})";
  OpenAiRequest request = parsed(Api::kChat, body);
};

const std::string kId = "r1-00000000000000010000000000000002";

TEST_F(VllmNixlPushTest, PrefillGetsWhatItGetsWhereDecodePulls) {
  const auto leg = connector.prefill_leg(request, plan, key);
  ASSERT_TRUE(leg.has_value());
  json expected = json::parse(body);
  expected["kv_transfer_params"] = {{"do_remote_decode", true},    {"do_remote_prefill", false},
                                    {"remote_engine_id", nullptr}, {"remote_block_ids", nullptr},
                                    {"remote_host", nullptr},      {"remote_port", nullptr}};
  expected["stream"] = false;
  expected["max_tokens"] = 1;
  expected.erase("stream_options");
  EXPECT_EQ(json::parse(leg->body), expected);
  EXPECT_EQ(id_of(*leg), kId);
}

// push_scheduler.py:199 to 211 indexes all of these but pp_size; metadata.py:331 the request id.
TEST_F(VllmNixlPushTest, DecodeIsToldThePrefillEngineAheadOfItsAnswer) {
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->body,
            body.substr(0, body.size() - 1) +
                R"(,"kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,)"
                R"("remote_engine_id":"e-0","remote_request_id":"chatcmpl-)" +
                kId + R"(","remote_host":"10.0.0.7","remote_port":5600,"tp_size":2,"pp_size":1}})");
  EXPECT_EQ(id_of(*leg), kId);
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":"x"})");
  const json sent = json::parse(connector.decode_leg(request, plan, key, nullptr)->body);
  EXPECT_EQ(sent.at("kv_transfer_params").at("remote_request_id"), "cmpl-" + kId + "-0");
}

// push_worker.py:398 and utils.py:61: requests meet by their id without its last eight digits.
TEST_F(VllmNixlPushTest, EachHandoffHasAnIdOfItsOwn) {
  const std::string first = id_of(*connector.prefill_leg(request, plan, key));
  key.transfer_id = TransferId{1, 3};
  const std::string second = id_of(*connector.prefill_leg(request, plan, key));
  EXPECT_NE(first, second);
  EXPECT_EQ(second, id_of(*connector.decode_leg(request, plan, key, nullptr)));
  ASSERT_GT(second.size(), 9U);
  EXPECT_NE(second[second.size() - 9], '-') << "would be taken for the engine's own ending";
}

TEST_F(VllmNixlPushTest, WithoutTheEngineThereIsNoHandoff) {
  for (const auto& [engine, address] : {std::pair("", "10.0.0.7:5600"), std::pair("e-0", "")}) {
    facts->engine_id = engine;
    facts->kv_address = address;
    const auto leg = connector.decode_leg(request, plan, key, nullptr);
    ASSERT_FALSE(leg.has_value());
    EXPECT_EQ(leg.error().stage, Stage::kHandoff);
    EXPECT_EQ(connector.on_leg_failure(leg.error()), LegAction::kRetryPair);
  }
}

TEST_F(VllmNixlPushTest, WithoutASplitItIsTheClientsBodyByteForByte) {
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  EXPECT_EQ(leg->body, body);
  EXPECT_EQ(id_of(*leg), "");
}

TEST_F(VllmNixlPushTest, ThePrefillAnswerIsOfTheEngineThatDecodeWaitsFor) {
  const auto check = [&](const json& params) {
    return connector.check_prefill(request, plan, {200, answer_with(params)});
  };
  EXPECT_TRUE(check(offered()).has_value());
  for (const json& params :
       {json(nullptr), offered_with("remote_engine_id", "e-1"),
        offered_with("do_remote_prefill", false), offered_with("remote_block_ids", {{7, 8}}),
        offered_with("remote_num_tokens", 24)}) {
    const auto checked = check(params);
    ASSERT_FALSE(checked.has_value()) << params;
    EXPECT_EQ(checked.error().stage, Stage::kHandoff);
    EXPECT_EQ(checked.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(connector.on_leg_failure(checked.error()), LegAction::kRetryPair);
  }
  for (const std::string answer : {"", "[]", "{}"}) {
    EXPECT_FALSE(connector.check_prefill(request, plan, {200, answer}).has_value()) << answer;
  }
}

TEST_F(VllmNixlPushTest, AProbeFindsServersThatDoNotPush) {
  EngineFacts read;
  ASSERT_TRUE(connector.read_probe(Pod{}, 200, answer_with(offered()), read).has_value());
  EXPECT_EQ(read.engine_id, "e-0");
  EXPECT_EQ(read.kv_address, "10.0.0.7:5600");
  EXPECT_EQ(read.tensor_parallel, 2);
  for (const json& mode : {json("pull"), json(nullptr)}) {
    const auto pull =
        connector.read_probe(Pod{}, 200, answer_with(offered_with("transfer_mode", mode)), read);
    ASSERT_FALSE(pull.has_value());
    EXPECT_FALSE(pull.error().retryable);
    EXPECT_EQ(pull.error().message,
              "it hands over by pull: start it with the kv_connector NixlPushConnector, or "
              "configure the pool's connector as vllm-nixl");
  }
  const auto none = connector.read_probe(Pod{}, 200, answer_with(nullptr), read);
  ASSERT_FALSE(none.has_value());
  EXPECT_NE(none.error().message.find("NixlPushConnector"), std::string::npos);
}

TEST_F(VllmNixlPushTest, NothingCanBeGivenBack) {
  const PrefillResponse answer{200, answer_with(offered())};
  EXPECT_FALSE(connector.release(plan, key, &answer).has_value());
}

TEST_F(VllmNixlPushTest, RefusesWhatHasSeveralReaders) {
  EXPECT_EQ(connector.refuses_split(request), "");
  EXPECT_EQ(
      connector.refuses_split(parsed(Api::kCompletions, R"({"model":"m","prompt":["x","y"]})")),
      "more than one prompt");
}

TEST_F(VllmNixlPushTest, AnInternalErrorOfTheDecodePodIsAFailedHandoff) {
  const Error error = connector.read_error(500, R"({"error":{"message":"x"}})", Stage::kDecode);
  EXPECT_EQ(error.stage, Stage::kHandoff);
}

}  // namespace
}  // namespace baton::adapters
