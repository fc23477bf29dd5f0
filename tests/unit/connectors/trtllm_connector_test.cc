// Against TensorRT-LLM 1.3 (2026), whose files the cases name (tensorrt_llm/serve/…).
#include "adapters/engines/trtllm/trtllm_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/connectors/connector_requests.h"

namespace baton::adapters {
namespace {

using nlohmann::json;
using testing::params_with;
using testing::parsed;

// openai_protocol.py (DisaggregatedParams), with floats, and with a member that no version has yet.
const std::string kContextParams =
    R"({"request_type":"context_only","first_gen_tokens":[29871],"first_gen_log_probs":[[-0.10]],)"
    R"("first_gen_logits":null,"ctx_request_id":9223372036854775807,"encoded_opaque_state":"AAE=",)"
    R"("draft_tokens":null,"disagg_request_id":4611686018427387905,"ctx_dp_rank":0,)"
    R"("schedule_style":0,"ctx_usage":null,"future":18446744073709551615})";
const std::string kUsage = R"({"prompt_tokens":5,"total_tokens":6,"completion_tokens":1,)"
                           R"("prompt_tokens_details":{"cached_tokens":4}})";

std::string context_answer(const std::string& params, const std::string& reason = "length",
                           const std::string& ids = "[1, 9038,2501]") {
  return R"({"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,)"
         R"("message":{"role":"assistant","content":"x","reasoning_content":null,"tool_calls":[]},)"
         R"("finish_reason":")" +
         reason + R"(","disaggregated_params":)" + params + R"(}],"usage":)" + kUsage +
         R"(,"prompt_token_ids":)" + ids + R"(,"prompt_token_ids_b64":null})";
}

class TrtllmTest : public ::testing::Test {
 protected:
  TrtllmTest() {
    plan.prefill = std::make_shared<PodEntry>();
    plan.decode = std::make_shared<PodEntry>();
  }
  [[nodiscard]] Result<LegRequest> decode(const std::string& answer) const {
    const PrefillResponse response{200, answer};
    return connector.decode_leg(request, plan, key, &response);
  }
  [[nodiscard]] Result<std::optional<WholeAnswer>> whole(const std::string& answer) const {
    return connector.whole_answer(request, {200, answer});
  }

  TrtllmConnector connector;
  HandoffKey key{TransferId{1, (1ULL << 63) + 2}, "r1", {}};  // number: 2^62 + 1
  Plan plan;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_tokens":64,"seed":12345678901234567890,)"
      R"("conversation_params":{"conversation_id":"c"}})";
  OpenAiRequest request = parsed(Api::kChat, body);
};

// openai_disagg_service.py (_get_ctx_request): nothing but these members may be added, since the
// server refuses those that it does not know.
TEST_F(TrtllmTest, TheContextLegIsTheClientsBodyWithANumberAndNoStream) {
  const auto leg = connector.prefill_leg(request, plan, key);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->target, "/v1/chat/completions");
  EXPECT_EQ(leg->body,
            R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":false,)"
            R"("max_tokens":64,"seed":12345678901234567890,)"
            R"("conversation_params":{"conversation_id":"c"},"disaggregated_params":)"
            R"({"request_type":"context_only","disagg_request_id":4611686018427387905}})");
  const OpenAiRequest unary = parsed(Api::kCompletions, R"({"model":"m","prompt":"x"})");
  EXPECT_EQ(connector.prefill_leg(unary, plan, key)->body,
            R"({"model":"m","prompt":"x","disaggregated_params":)"
            R"({"request_type":"context_only","disagg_request_id":4611686018427387905}})");
}

// llmapi/disagg_utils.py (MIN_GLOBAL_ID): smaller numbers are the servers' own.
TEST_F(TrtllmTest, NumbersAreOutsideThoseOfTheServers) {
  for (const std::uint64_t low : {0ULL, 2ULL, ~0ULL}) {
    key.transfer_id = TransferId{1, low};
    const json sent = json::parse(connector.prefill_leg(request, plan, key)->body);
    const json& number = sent.at("disaggregated_params").at("disagg_request_id");
    EXPECT_GE(number.get<std::uint64_t>(), 1ULL << 42);
    EXPECT_LE(number.get<std::uint64_t>(), std::uint64_t{INT64_MAX});
  }
}

// openai_disagg_service.py (_get_gen_request).
TEST_F(TrtllmTest, TheGenerationLegGetsTheParametersAndTheIds) {
  const auto leg = decode(context_answer(kContextParams));
  ASSERT_TRUE(leg.has_value()) << leg.error().message;
  std::string params = kContextParams;
  params.replace(params.find("context_only"), 12, "generation_only");
  params.replace(params.find(R"("ctx_usage":null)"), 16, R"("ctx_usage":)" + kUsage);
  EXPECT_EQ(leg->body, body.substr(0, body.size() - 1) + R"(,"disaggregated_params":)" + params +
                           R"(,"prompt_token_ids":[1, 9038,2501]})");
}

TEST_F(TrtllmTest, CompletionsGetTheIdsAsTheirPrompt) {
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":"hello","max_tokens":4})");
  const auto leg = decode(context_answer(kContextParams));
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->target, "/v1/completions");
  const json sent = json::parse(leg->body);
  EXPECT_EQ(sent.at("prompt"), (json{1, 9038, 2501}));
  EXPECT_FALSE(sent.contains("prompt_token_ids"));
}

TEST_F(TrtllmTest, OlderVersionsGetNoMemberThatTheyDoNotKnow) {
  const json gone(json::value_t::discarded);
  const auto leg = decode(context_answer(params_with(kContextParams, "ctx_usage", gone)));
  ASSERT_TRUE(leg.has_value());
  EXPECT_FALSE(json::parse(leg->body).at("disaggregated_params").contains("ctx_usage"));
}

TEST_F(TrtllmTest, WithoutIdsTheGenerationServerMakesThemAgain) {
  const auto leg = decode(context_answer(kContextParams, "length", "null"));
  ASSERT_TRUE(leg.has_value());
  EXPECT_FALSE(json::parse(leg->body).contains("prompt_token_ids"));
}

TEST_F(TrtllmTest, WhatIsNotThisRequestsNeverReachesAGenerationServer) {
  const json gone(json::value_t::discarded);
  const std::string wrong[] = {
      "",
      "null",
      "[]",
      R"({"choices":[]})",
      R"({"choices":[1]})",
      R"({"choices":[{"finish_reason":"length"},{"finish_reason":"length"}]})",
      R"({"choices":[{"finish_reason":"length"}]})",
      R"({"choices":[{"finish_reason":null,"disaggregated_params":{}}]})",
      context_answer("null"),
      context_answer(R"("text")"),
      context_answer(params_with(kContextParams, "ctx_request_id", nullptr)),
      context_answer(params_with(kContextParams, "ctx_request_id", gone)),
      context_answer(params_with(kContextParams, "disagg_request_id", nullptr)),
      context_answer(params_with(kContextParams, "disagg_request_id", 4611686018427387904)),
      context_answer(params_with(kContextParams, "disagg_request_id", "4611686018427387905")),
      context_answer(kContextParams, "length", "[]"),
      context_answer(kContextParams, "length", R"("x")"),
  };
  for (const std::string& answer : wrong) {
    const auto leg = decode(answer);
    ASSERT_FALSE(leg.has_value()) << answer;
    EXPECT_EQ(leg.error().stage, Stage::kHandoff);
    EXPECT_EQ(leg.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(connector.on_leg_failure(leg.error()), LegAction::kRetryPair);
  }
}

TEST_F(TrtllmTest, AnotherPromptIsSeenByItsTokens) {
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":[1,2]})");
  EXPECT_FALSE(decode(context_answer(kContextParams)).has_value());
  request =
      parsed(Api::kCompletions, R"({"model":"m","prompt":[1,2,3,4],"truncate_prompt_tokens":3})");
  EXPECT_TRUE(decode(context_answer(kContextParams)).has_value());
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":[1,2,3]})");
  EXPECT_TRUE(decode(context_answer(kContextParams)).has_value());
}

TEST_F(TrtllmTest, WithoutASplitItIsTheClientsBodyByteForByte) {
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, body);
}

// openai_disagg_service.py (_need_gen).
TEST_F(TrtllmTest, OnlyARequestThatGoesOnHasAGenerationLeg) {
  for (const std::string reason : {"length", "not_finished"}) {
    const auto found = whole(context_answer(kContextParams, reason));
    ASSERT_TRUE(found.has_value());
    EXPECT_FALSE(found->has_value());
  }
}

TEST_F(TrtllmTest, ARequestThatEndedIsTheClientsWithoutWhatIsNotItsOwn) {
  request = parsed(Api::kChat, R"({"model":"m","messages":[{"role":"user","content":"x"}]})");
  const auto found = whole(context_answer(kContextParams, "stop"));
  ASSERT_TRUE(found.has_value() && found->has_value());
  EXPECT_EQ((*found)->content_type, "application/json");
  EXPECT_EQ((*found)->body,
            R"({"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,)"
            R"("message":{"role":"assistant","content":"x","reasoning_content":null,)"
            R"("tool_calls":[]},"finish_reason":"stop"}],"usage":)" +
                kUsage + "}");
}

TEST_F(TrtllmTest, AndAStreamWhereTheClientAskedForOne) {
  const auto found = whole(context_answer(kContextParams, "stop"));
  ASSERT_TRUE(found.has_value() && found->has_value());
  EXPECT_EQ((*found)->content_type, "text/event-stream");
  const std::string& stream = (*found)->body;
  EXPECT_EQ(stream.find("disaggregated_params"), std::string::npos);
  EXPECT_EQ(stream.find("prompt_token_ids"), std::string::npos);
  EXPECT_NE(stream.find(R"("delta":{"role":"assistant","content":"x"})"), std::string::npos);
  EXPECT_NE(stream.find(R"("choices":[],"usage":)" + kUsage), std::string::npos);
  EXPECT_TRUE(stream.ends_with("data: [DONE]\n\n"));
}

TEST_F(TrtllmTest, ARequestThatFailedThereIsNoAnswer) {
  for (const std::string& answer :
       {context_answer(kContextParams, "timeout"), context_answer(kContextParams, "cancelled"),
        std::string("null"), std::string(R"({"choices":[]})"),
        std::string(R"({"choices":[{"finish_reason":null}]})")}) {
    const auto found = whole(answer);
    ASSERT_FALSE(found.has_value()) << answer;
    EXPECT_EQ(found.error().stage, Stage::kHandoff);
  }
}

TEST_F(TrtllmTest, RefusesWhatTheTwoServersCannotDoTogether) {
  const auto refuses = [&](const std::string& fields) {
    return connector.refuses_split(parsed(Api::kCompletions, R"({"model":"m",)" + fields + "}"));
  };
  EXPECT_EQ(refuses(R"("prompt":"x")"), "");
  EXPECT_EQ(refuses(R"("prompt":"x","n":2)"), "n > 1");
  EXPECT_EQ(refuses(R"("prompt":["x","y"])"), "more than one prompt");
  EXPECT_EQ(refuses(R"("prompt":"x","echo":true)"), "echo");
  EXPECT_EQ(refuses(R"("prompt":"x","use_beam_search":true)"), "use_beam_search");
  EXPECT_EQ(refuses(R"("prompt":"x","return_context_logits":true)"), "return_context_logits");
}

// openai_server.py answers 400 for every exception; py_executor.py (_check_cache_transfer_errors).
TEST_F(TrtllmTest, AFailedTransferIsNotTheClientsFaultWhateverTheStatusSays) {
  const std::string said =
      R"({"object":"error","message":"Error in kv cache transfer for generation requests",)"
      R"("type":"BadRequestError","param":null,"code":400})";
  const Error decode = connector.read_error(400, said, Stage::kDecode);
  EXPECT_EQ(decode.stage, Stage::kHandoff);
  EXPECT_TRUE(decode.retryable);
  EXPECT_EQ(connector.on_leg_failure(decode), LegAction::kRetryPair);
  const Error prefill = connector.read_error(
      400,
      R"({"object":"error","message":"disaggregated_params is not set in the response for request 1"})",
      Stage::kPrefill);
  EXPECT_EQ(prefill.stage, Stage::kPrefill);
  EXPECT_EQ(connector.on_leg_failure(prefill), LegAction::kRetryPrefill);
}

TEST_F(TrtllmTest, OtherRefusalsAreTheClients) {
  const Error error = connector.read_error(
      400, R"({"object":"error","message":"extra_forbidden","type":"BadRequestError","code":400})",
      Stage::kPrefill);
  EXPECT_FALSE(error.retryable);
  EXPECT_EQ(error.message, "extra_forbidden");
  EXPECT_EQ(connector.on_leg_failure(error), LegAction::kFail);
  EXPECT_TRUE(connector.read_error(503, "", Stage::kDecode).retryable);
}

TEST(TrtllmFacts, ReadsThem) {
  const TrtllmConnector connector;
  EXPECT_EQ(connector.facts_targets(Pod{}),
            (std::vector<FactsTarget>{{"/version"}, {"/v1/models"}}));
  EXPECT_EQ(connector.metrics_target(), "/prometheus/metrics");
  const std::string bodies[] = {
      R"({"version":"1.3.0"})",
      R"({"object":"list","data":[{"id":"m","object":"model","owned_by":"tensorrt_llm"}]})"};
  const auto facts = connector.read_facts(Pod{}, bodies);
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->engine_version, "TensorRT-LLM 1.3.0");
  EXPECT_EQ(facts->model_hash, "m");
}

TEST(TrtllmFacts, AnotherEnginesServerIsSaidInOneLine) {
  const std::string bodies[] = {R"({"version":"0.32.0"})",
                                R"({"data":[{"id":"m","owned_by":"vllm"}]})"};
  const auto facts = TrtllmConnector().read_facts(Pod{}, bodies);
  ASSERT_FALSE(facts.has_value());
  EXPECT_FALSE(facts.error().retryable);
  EXPECT_EQ(facts.error().message,
            "it is a server of vllm, not of tensorrt_llm: the pool's connector is not for it");
  for (const std::string models : {"", "{}", R"({"data":[]})", R"({"data":[1]})"}) {
    const std::string other[] = {R"({"version":"1"})", models};
    EXPECT_FALSE(TrtllmConnector().read_facts(Pod{}, other).has_value()) << models;
  }
  const std::string no_version[] = {"[]", R"({"data":[{"id":"m"}]})"};
  EXPECT_FALSE(TrtllmConnector().read_facts(Pod{}, no_version).has_value());
}

}  // namespace
}  // namespace baton::adapters
