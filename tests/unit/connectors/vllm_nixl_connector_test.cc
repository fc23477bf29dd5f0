#include "adapters/engines/vllm/nixl_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/connectors/connector_requests.h"

namespace baton::adapters {
namespace {

using nlohmann::json;

using testing::params_with;
using testing::parsed;

// As vLLM 0.32.0 writes them, with a member that no version has yet.
const std::string kNixlParams =
    R"({"do_remote_prefill":true,"do_remote_decode":false,"remote_block_ids":[[7, 8,9]],)"
    R"("remote_engine_id":"e-0","remote_request_id":"chatcmpl-r1-0a1b2c3d","remote_host":"10.0.0.7",)"
    R"("remote_port":5600,"tp_size":1,"dcp_size":1,"pp_size":1,"remote_num_tokens":40,)"
    R"("remote_blocks_expiry_time":null,"transfer_mode":"pull","future":18446744073709551615})";

std::string prefill_answer(const std::string& params, int prompt_tokens = 40) {
  return R"({"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"x"}],)"
         R"("usage":{"prompt_tokens":)" +
         std::to_string(prompt_tokens) + R"(,"completion_tokens":1},"kv_transfer_params":)" +
         params + "}";
}

class VllmNixlTest : public ::testing::Test {
 protected:
  VllmNixlTest() {
    auto prefill = std::make_shared<PodEntry>();
    prefill->pod.name = "p0";
    prefill->pod.facts.block_tokens = Tokens(16);
    plan.prefill = prefill;
    plan.decode = std::make_shared<PodEntry>();
  }
  [[nodiscard]] Result<LegRequest> decode(const std::string& answer) const {
    const PrefillResponse response{200, answer};
    return connector.decode_leg(request, plan, key, &response);
  }

  VllmNixlConnector connector;
  HandoffKey key{TransferId{1, 2}, "r1", {}};
  Plan plan;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_completion_tokens":64,"min_tokens":3,)"
      R"("tools":[{"type":"function","function":{"name":"f"}}],"seed":12345678901234567890})";
  OpenAiRequest request = parsed(Api::kChat, body);
};

TEST_F(VllmNixlTest, PrefillGetsOneTokenAndNothingThatContradictsIt) {
  const auto leg = connector.prefill_leg(request, plan, key);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->target, "/v1/chat/completions");
  json expected = json::parse(body);
  expected["kv_transfer_params"] = {{"do_remote_decode", true},    {"do_remote_prefill", false},
                                    {"remote_engine_id", nullptr}, {"remote_block_ids", nullptr},
                                    {"remote_host", nullptr},      {"remote_port", nullptr}};
  expected["stream"] = false;
  expected["max_tokens"] = 1;
  expected["max_completion_tokens"] = 1;
  expected.erase("stream_options");
  expected.erase("min_tokens");
  EXPECT_EQ(json::parse(leg->body), expected);
  EXPECT_NE(leg->body.find("12345678901234567890"), std::string::npos);
}

TEST_F(VllmNixlTest, PartsOfMessagesThatBatonKnowsNothingOfPassUntouched) {
  const std::string messages =
      R"([{"role":"user","content":[{"type":"text","text":"what is this?"},)"
      R"({"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO","detail":"low"}},)"
      R"({"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]},)"
      R"({"role":"assistant","reasoning_content":"a cat\u002e","content":null}])";
  const std::string fields = R"("messages":)" + messages +
                             R"(,"mm_processor_kwargs":{"n":1.50},"reasoning_effort":"low",)"
                             R"("response_format":{"type":"json_object"})";
  request = parsed(Api::kChat, R"({"model":"m",)" + fields + "}");
  const auto prefill = connector.prefill_leg(request, plan, key);
  const auto decoded = decode(prefill_answer(kNixlParams));
  ASSERT_TRUE(prefill.has_value());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_NE(prefill->body.find(fields), std::string::npos) << prefill->body;
  EXPECT_NE(decoded->body.find(fields), std::string::npos) << decoded->body;
}

TEST_F(VllmNixlTest, TheNewerNameOfMaxTokensIsCappedOnlyWhereItIs) {
  const OpenAiRequest plain = parsed(Api::kCompletions, R"({"model":"m","prompt":"x"})");
  const auto leg = connector.prefill_leg(plain, plan, key);
  EXPECT_EQ(leg->target, "/v1/completions");
  EXPECT_EQ(json::parse(leg->body).at("max_tokens"), 1);
  EXPECT_FALSE(json::parse(leg->body).contains("max_completion_tokens"));
}

TEST_F(VllmNixlTest, DecodeGetsTheClientsBodyWithTheParametersAsTheyCame) {
  const auto leg = decode(prefill_answer(kNixlParams));
  ASSERT_TRUE(leg.has_value()) << leg.error().message;
  EXPECT_EQ(leg->body,
            body.substr(0, body.size() - 1) + R"(,"kv_transfer_params":)" + kNixlParams + "}");
  EXPECT_TRUE(leg->no_handoff.empty());
}

TEST_F(VllmNixlTest, WithoutParametersDecodeComputesThePromptAndThatIsSaid) {
  for (const std::string& answer :
       {prefill_answer("null"), std::string(R"({"choices":[],"usage":{"prompt_tokens":40}})")}) {
    const auto leg = decode(answer);
    ASSERT_TRUE(leg.has_value());
    EXPECT_EQ(leg->body, body);
    EXPECT_FALSE(leg->no_handoff.empty());
  }
}

TEST_F(VllmNixlTest, BlocksThatCannotBeThePromptsNeverReachADecodePod) {
  const json gone(json::value_t::discarded);
  const std::string wrong[] = {
      R"("text")",
      "[1]",
      params_with(kNixlParams, "do_remote_prefill", false),
      params_with(kNixlParams, "remote_engine_id", gone),
      params_with(kNixlParams, "remote_request_id", gone),
      params_with(kNixlParams, "remote_host", nullptr),
      params_with(kNixlParams, "remote_port", gone),
      params_with(kNixlParams, "remote_block_ids", nullptr),
      params_with(kNixlParams, "remote_block_ids", json::array()),
      params_with(kNixlParams, "remote_block_ids", {json::array()}),
      params_with(kNixlParams, "remote_block_ids", {{7, 8}}),  // 32 of 40 tokens
      params_with(kNixlParams, "remote_num_tokens", 24),
  };
  for (const std::string& params : wrong) {
    const auto leg = decode(prefill_answer(params));
    ASSERT_FALSE(leg.has_value()) << params;
    EXPECT_EQ(leg.error().stage, Stage::kHandoff);
    EXPECT_EQ(leg.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(connector.on_leg_failure(leg.error()), LegAction::kRetryPair);
  }
  const auto broken = decode("{");
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().stage, Stage::kHandoff);
}

TEST_F(VllmNixlTest, AnotherPromptsBlocksAreSeenByTheirTokens) {
  std::string ids = "1";
  for (int i = 1; i < 30; ++i) ids += ",1";
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":[)" + ids + "]}");
  EXPECT_FALSE(decode(prefill_answer(kNixlParams)).has_value());
  EXPECT_TRUE(
      decode(prefill_answer(params_with(kNixlParams, "remote_num_tokens", 30), 30)).has_value());
}

TEST_F(VllmNixlTest, OlderAndHybridServersNameTheirBlocksOtherwise) {
  const json gone(json::value_t::discarded);
  EXPECT_TRUE(
      decode(prefill_answer(params_with(kNixlParams, "remote_block_ids", {7, 8, 9}))).has_value());
  EXPECT_TRUE(decode(prefill_answer(params_with(kNixlParams, "remote_block_ids", {{7, 8, 9}, {3}})))
                  .has_value());
  EXPECT_TRUE(
      decode(prefill_answer(params_with(kNixlParams, "remote_num_tokens", gone))).has_value());
}

TEST_F(VllmNixlTest, DecodeOnlyIsTheClientsBodyByteForByte) {
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, body);
  key.served_model = "served";
  EXPECT_EQ(json::parse(connector.decode_leg(request, plan, key, nullptr)->body).at("model"),
            "served");
}

TEST_F(VllmNixlTest, WhatHasSeveralReadersOrNeedsThePromptsLogitsIsNotSplit) {
  const auto refuses = [&](const std::string& fields) {
    return connector.refuses_split(parsed(Api::kCompletions, R"({"model":"m",)" + fields + "}"));
  };
  EXPECT_EQ(refuses(R"("prompt":"x")"), "");
  EXPECT_EQ(refuses(R"("prompt":"x","echo":false,"best_of":null)"), "");
  EXPECT_EQ(refuses(R"("prompt":"x","n":2)"), "n > 1");
  EXPECT_EQ(refuses(R"("prompt":["x","y"])"), "more than one prompt");
  EXPECT_EQ(refuses(R"("prompt":[[1],[2]])"), "more than one prompt");
  EXPECT_EQ(refuses(R"("prompt":"x","echo":true)"), "echo");
  EXPECT_EQ(refuses(R"("prompt":"x","best_of":2)"), "best_of");
  EXPECT_EQ(refuses(R"("prompt":"x","prompt_logprobs":0)"), "prompt_logprobs");
  EXPECT_EQ(refuses(R"("prompt":"x","use_beam_search":true)"), "use_beam_search");
}

TEST_F(VllmNixlTest, BlocksAreGivenBackByARequestThatTheDecodePodRefuses) {
  const PrefillResponse answer{200, prefill_answer(kNixlParams)};
  const auto release = connector.release(plan, key, &answer);
  ASSERT_TRUE(release.has_value());
  EXPECT_EQ(release->pod, Stage::kDecode);
  EXPECT_EQ(release->status, 404U);
  const json sent = json::parse(release->request.body);
  EXPECT_EQ(sent.at("kv_transfer_params"), json::parse(kNixlParams));
  EXPECT_NE(sent.at("model"), "m");
  EXPECT_EQ(sent.at("max_tokens"), 1);
}

TEST_F(VllmNixlTest, ThereIsNothingToGiveBackWithoutAnAnswer) {
  EXPECT_FALSE(connector.release(plan, key, nullptr).has_value());
  // Without the request's id the decode server would not give blocks back, but end.
  const std::string no_id =
      params_with(kNixlParams, "remote_request_id", json(json::value_t::discarded));
  for (const std::string& body : {prefill_answer("null"), std::string("{"), std::string("[]"),
                                  prefill_answer(no_id), prefill_answer(R"("text")")}) {
    const PrefillResponse answer{200, body};
    EXPECT_FALSE(connector.release(plan, key, &answer).has_value()) << body;
  }
}

TEST_F(VllmNixlTest, AnInternalErrorOfTheDecodePodIsAFailedHandoff) {
  const std::string said =
      R"({"error":{"message":"Internal server error","type":"InternalServerError","param":null,)"
      R"("code":500}})";
  const Error error = connector.read_error(500, said, Stage::kDecode);
  EXPECT_EQ(error.stage, Stage::kHandoff);
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "Internal server error");
  EXPECT_EQ(connector.on_leg_failure(error), LegAction::kRetryPair);
  EXPECT_EQ(connector.read_error(500, said, Stage::kPrefill).stage, Stage::kPrefill);
  EXPECT_EQ(connector.read_error(503, said, Stage::kDecode).stage, Stage::kDecode);
}

TEST_F(VllmNixlTest, AClientsFaultIsTheClients) {
  const Error error = connector.read_error(
      400,
      R"({"error":{"message":"bad","type":"BadRequestError","param":"temperature","code":400}})",
      Stage::kPrefill);
  EXPECT_FALSE(error.retryable);
  EXPECT_EQ(error.param, "temperature");
  EXPECT_EQ(connector.on_leg_failure(error), LegAction::kFail);
}

TEST_F(VllmNixlTest, ADecodePodThatFailsNeedsANewPrefill) {
  const Error gone{ErrorCode::kUnavailable, Stage::kDecode, "reset", true};
  EXPECT_EQ(connector.on_leg_failure(gone), LegAction::kRetryPair);
  const Error late{ErrorCode::kTimeout, Stage::kPrefill, "late", true};
  EXPECT_EQ(connector.on_leg_failure(late), LegAction::kRetryPrefill);
}

TEST_F(VllmNixlTest, ReadsFacts) {
  ASSERT_EQ(connector.facts_targets(Pod{}),
            (std::vector<FactsTarget>{{"/version"}, {"/v1/models"}}));
  const std::string bodies[] = {
      R"({"version":"0.32.0+cpu"})",
      R"({"object":"list","data":[{"id":"m","root":"/models/m","max_model_len":2048},{"id":"lora"}]})"};
  const auto facts = connector.read_facts(Pod{}, bodies);
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->engine_version, "vLLM 0.32.0+cpu");
  EXPECT_EQ(facts->max_context, Tokens(2048));
}

TEST_F(VllmNixlTest, AServerThatIsNoVllmIsFound) {
  const std::string models = R"({"data":[{"id":"m"}]})";
  for (const std::string version : {"", "{}", "[]", R"({"version":3})"}) {
    const std::string bodies[] = {version, models};
    EXPECT_FALSE(connector.read_facts(Pod{}, bodies).has_value()) << version;
  }
  for (const std::string listed : {"", "{}", R"({"data":[]})", R"({"data":[1]})"}) {
    const std::string bodies[] = {R"({"version":"1"})", listed};
    EXPECT_FALSE(connector.read_facts(Pod{}, bodies).has_value()) << listed;
  }
}

// A pod's answer to the probe, with one member of its parameters replaced.
std::string probe_answer(const std::string& key = {}, const json& value = {}) {
  return prefill_answer(key.empty() ? kNixlParams : params_with(kNixlParams, key, value), 1);
}

TEST_F(VllmNixlTest, AProbeIsOnePrefillOfOneToken) {
  Pod pod;
  pod.role = Role::kPrefill;
  const auto probe = connector.probe(pod, "a \"model\"");
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->method, "POST");
  EXPECT_EQ(probe->target, "/v1/completions");
  const json sent = json::parse(probe->body);
  EXPECT_EQ(sent.at("model"), "a \"model\"");
  EXPECT_EQ(sent.at("max_tokens"), 1);
  EXPECT_EQ(sent.at("kv_transfer_params").at("do_remote_decode"), true);
  pod.role = Role::kBoth;
  EXPECT_TRUE(connector.probe(pod, "m").has_value());
  pod.role = Role::kDecode;
  EXPECT_FALSE(connector.probe(pod, "m").has_value());
}

TEST_F(VllmNixlTest, AProbeTellsTheEngineAndItsAddress) {
  EngineFacts facts;
  facts.engine_version = "vLLM 0.32.0";
  ASSERT_TRUE(connector.read_probe(Pod{}, 200, probe_answer("tp_size", 4), facts).has_value());
  EXPECT_EQ(facts.engine_id, "e-0");
  EXPECT_EQ(facts.kv_address, "10.0.0.7:5600");
  EXPECT_EQ(facts.tensor_parallel, 4);
  EXPECT_EQ(facts.pipeline_parallel, 1);
  EXPECT_EQ(facts.engine_version, "vLLM 0.32.0");
  const json gone(json::value_t::discarded);
  EXPECT_TRUE(connector.read_probe(Pod{}, 200, probe_answer("transfer_mode", gone), facts));
}

TEST_F(VllmNixlTest, AProbeFindsServersThatDoNotPull) {
  EngineFacts facts;
  const struct {
    std::string answer;
    std::string said;
  } cases[] = {
      {prefill_answer("null"),
       R"(it answers without kv_transfer_params: start it with --kv-transfer-config )"
       R"('{"kv_connector":"NixlConnector","kv_role":"kv_both"}')"},
      {"[]", R"(it answers without kv_transfer_params: start it with --kv-transfer-config )"
             R"('{"kv_connector":"NixlConnector","kv_role":"kv_both"}')"},
      {probe_answer("transfer_mode", "push"),
       "it hands over by push: start it with the kv_connector NixlConnector, or configure the "
       "pool's connector as vllm-nixl-push"},
      {probe_answer("remote_engine_id", nullptr),
       "its kv_transfer_params name no engine, or no address"},
      {probe_answer("remote_port", 0), "its kv_transfer_params name no engine, or no address"},
      {probe_answer("remote_port", 65536), "its kv_transfer_params name no engine, or no address"},
      {probe_answer("remote_host", ""), "its kv_transfer_params name no engine, or no address"},
  };
  for (const auto& wrong : cases) {
    const auto read = connector.read_probe(Pod{}, 200, wrong.answer, facts);
    ASSERT_FALSE(read.has_value()) << wrong.answer;
    EXPECT_EQ(read.error().message, wrong.said);
    EXPECT_FALSE(read.error().retryable);
  }
}

TEST_F(VllmNixlTest, AProbeThatIsRefusedSaysWhy) {
  EngineFacts facts;
  const std::string said = R"({"error":{"message":"The model `m` does not exist.","code":404}})";
  const auto refused = connector.read_probe(Pod{}, 404, said, facts);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "it refuses a prefill request: The model `m` does not exist.");
  EXPECT_FALSE(refused.error().retryable);
  const auto busy = connector.read_probe(Pod{}, 503, "", facts);
  ASSERT_FALSE(busy.has_value());
  EXPECT_TRUE(busy.error().retryable);
}

}  // namespace
}  // namespace baton::adapters
