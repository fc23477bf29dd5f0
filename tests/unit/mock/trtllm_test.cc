// TensorRT-LLM's context and generation servers, context first (tensorrt_llm/serve, 1.3).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::int64_t kId = 9007199254740993;  // 2^53 + 1: no double holds it

MockOptions trtllm(Role role) {
  MockOptions options;
  options.engine = "trtllm";
  options.role = role;
  return options;
}

// openai_disagg_service.py, _get_ctx_request.
Json context_leg(Json body, std::int64_t id = kId) {
  body.erase("stream_options");
  body["stream"] = false;
  body["disaggregated_params"] = {{"request_type", "context_only"}, {"disagg_request_id", id}};
  return body;
}

// openai_disagg_service.py, _get_gen_request.
Json generation_leg(Json body, const Json& answer) {
  body["disaggregated_params"] = answer["choices"][0]["disaggregated_params"];
  body["disaggregated_params"]["request_type"] = "generation_only";
  body["disaggregated_params"]["ctx_usage"] = answer["usage"];
  body[body.contains("messages") ? "prompt_token_ids" : "prompt"] = answer["prompt_token_ids"];
  return body;
}

class Trtllm : public ::testing::Test {
 protected:
  Json context(const Json& body, std::int64_t id = kId,
               const std::string& target = "/v1/completions") {
    const auto call = street.post(prefill, target, context_leg(body, id));
    EXPECT_EQ(call->status, 200U) << call->body;
    return call->json();
  }
  void expect_clean() {
    for (const MockPod* pod : {&prefill, &decode}) {
      const Json ledger = street.ledger(*pod);
      EXPECT_EQ(ledger["violations"], Json::object());
      EXPECT_EQ(ledger["pinned_blocks"], 0);
      EXPECT_EQ(ledger["ranks"][0]["used_blocks"], 0);
    }
  }
  Json violations(const MockPod& pod) { return street.ledger(pod)["violations"]; }

  Street street;
  MockPod& prefill = street.add(trtllm(Role::kPrefill));
  MockPod& decode = street.add(trtllm(Role::kDecode));
  MockPod& single = street.add(trtllm(Role::kBoth));
};

TEST_F(Trtllm, ASplitAnswerIsThatOfOneServer) {
  const Json body = completion(kPrompt, 20);
  const Json first = context(body);
  const auto second = street.post(decode, "/v1/completions", generation_leg(body, first));
  ASSERT_EQ(second->status, 200U) << second->body;
  const Json alone = street.post(single, "/v1/completions", body)->json();
  EXPECT_EQ(second->json()["choices"][0]["text"], alone["choices"][0]["text"]);
  EXPECT_EQ(second->json()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(second->json()["usage"], alone["usage"]);
  expect_clean();
}

TEST_F(Trtllm, ASplitChatIsStreamedAsByOneServer) {
  Json body = {{"model", "mock-model"}, {"max_tokens", 5}, {"temperature", 0}};
  body["messages"] = {{{"role", "user"}, {"content", kPrompt}}};
  const Json first = context(body, kId, "/v1/chat/completions");
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto second = street.post(decode, "/v1/chat/completions", generation_leg(body, first));
  const auto alone = street.post(single, "/v1/chat/completions", body);
  const auto text = [](const Call& call) {
    std::string all;
    for (const Json& event : call.events()) {
      if (event.is_object() && !event["choices"].empty()) {
        all += event["choices"][0]["delta"].value("content", "");
      }
    }
    return all;
  };
  EXPECT_EQ(text(*second), text(*alone));
  const auto events = second->events();
  ASSERT_EQ(events.size(), 8U);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[5]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[6]["usage"]["completion_tokens"], 5);
  EXPECT_EQ(events[7], "[DONE]");
  expect_clean();
}

// openai_protocol.py:1204, to_disaggregated_params; executor/result.py on the reason.
TEST_F(Trtllm, AContextAnswerSaysWhatTheGenerationServerNeeds) {
  const Json answer = context(completion(kPrompt, 20));
  ASSERT_EQ(answer["choices"].size(), 1U);
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "not_finished");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 1);
  EXPECT_EQ(answer["prompt_token_ids"].size(), answer["usage"]["prompt_tokens"]);
  const Json& params = choice["disaggregated_params"];
  EXPECT_EQ(params["request_type"], "context_only");
  EXPECT_EQ(params["ctx_request_id"], kId);
  EXPECT_EQ(params["disagg_request_id"], kId);
  EXPECT_EQ(params["first_gen_tokens"].size(), 1U);
  EXPECT_TRUE(params["encoded_opaque_state"].is_string());
  EXPECT_TRUE(params.contains("ctx_usage"));
  EXPECT_EQ(context(completion(kPrompt, 1), kId + 1)["choices"][0]["finish_reason"], "length");
}

// openai_disagg_service.py, _need_gen.
TEST_F(Trtllm, AnAnswerThatEndsWithItsFirstTokenKeepsNothing) {
  const Json one = street.post(single, "/v1/completions", completion(kPrompt, 1))->json();
  Json body = completion(kPrompt, 20);
  body["stop"] = {one["choices"][0]["text"]};
  const Json answer = context(body);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["choices"][0]["text"], "");
  EXPECT_EQ(street.ledger(prefill)["pinned_blocks"], 0);
}

TEST_F(Trtllm, OneReaderOnly) {
  const Json body = completion(kPrompt);
  const Json first = context(body);
  EXPECT_EQ(street.post(decode, "/v1/completions", generation_leg(body, first))->status, 200U);
  const auto again = street.post(decode, "/v1/completions", generation_leg(body, first));
  EXPECT_EQ(again->status, 400U);
  EXPECT_EQ(again->json()["message"], "Error in kv cache transfer for generation requests");
  EXPECT_EQ(violations(decode), (Json{{"second_reader", 1}}));
}

// openai_server.py: the generator raises within a stream that has begun.
TEST_F(Trtllm, AFailedTransferCutsAStream) {
  Json body = completion(kPrompt);
  const Json first = context(body);
  body["stream"] = true;
  (void)street.post(decode, "/v1/completions", generation_leg(body, first));
  const auto again = street.post(decode, "/v1/completions", generation_leg(body, first));
  EXPECT_TRUE(again->cut);
  EXPECT_EQ(again->body, "");
}

TEST_F(Trtllm, WhatDiffersFromTheContextIsCounted) {
  const Json body = completion(kPrompt);
  std::int64_t id = kId;
  const auto refused = [&](const std::string& violation, const auto& change) {
    Json leg = generation_leg(body, context(body, ++id));
    change(leg);
    EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 400U) << violation;
    EXPECT_EQ(violations(decode).value(violation, 0), 1) << violations(decode);
    EXPECT_EQ(street.call(decode, "DELETE", "/debug/requests")->status, 204U);
  };
  const char* params = "disaggregated_params";
  refused("tokens_differ", [](Json& leg) { leg["prompt"].push_back(300); });
  refused("first_tokens_differ", [&](Json& leg) { leg[params]["first_gen_tokens"] = {1}; });
  refused("disagg_request_id_differs", [&](Json& leg) { leg[params]["disagg_request_id"] = 7; });
  refused("unknown_context", [&](Json& leg) { leg[params]["ctx_request_id"] = 7; });
  refused("opaque_state_differs",
          [&](Json& leg) { leg[params]["encoded_opaque_state"] = "bm90aGluZw=="; });
  refused("no_first_gen_tokens", [&](Json& leg) { leg[params].erase("first_gen_tokens"); });
  refused("unknown_request_type", [&](Json& leg) { leg[params]["request_type"] = "decode"; });
}

// cache_transceiver_config.kv_transfer_timeout_ms.
TEST_F(Trtllm, AContextThatNobodyFetchesIsFreed) {
  MockOptions options = trtllm(Role::kPrefill);
  options.lease = milliseconds(20);
  const MockPod& hasty = street.add(std::move(options));
  const Json body = completion(kPrompt);
  const Json answer = street.post(hasty, "/v1/completions", context_leg(body))->json();
  EXPECT_TRUE(street.run_until([&] { return street.ledger(hasty)["expired"] == 1; }));
  EXPECT_EQ(street.ledger(hasty)["ranks"][0]["used_blocks"], 0);
  EXPECT_EQ(street.post(decode, "/v1/completions", generation_leg(body, answer))->status, 400U);
  EXPECT_EQ(violations(decode), (Json{{"context_expired", 1}}));
}

TEST_F(Trtllm, WrongKvChangesTheAnswer) {
  street.set_faults(prefill, "wrong_kv:1");
  const Json body = completion(kPrompt, 12);
  const auto second = street.post(decode, "/v1/completions", generation_leg(body, context(body)));
  EXPECT_NE(second->json()["choices"][0]["text"],
            street.post(single, "/v1/completions", body)->json()["choices"][0]["text"]);
}

// openai_protocol.py, OpenAIBaseModel: extra="forbid", in nested objects, too.
TEST_F(Trtllm, UnknownMembersAreRefused) {
  const auto refused = [&](const Json& change, const std::string& message) {
    Json body = completion(kPrompt);
    body.update(change);
    const auto call = street.post(single, "/v1/completions", body);
    EXPECT_EQ(call->status, 400U) << change;
    EXPECT_THAT(call->json()["error"].get<std::string>(), HasSubstr(message));
  };
  const std::string extra = "Extra inputs are not permitted";
  refused({{"kv_transfer_params", Json::object()}}, extra);
  refused({{"bootstrap_room", 1}}, "'loc': ('body', 'bootstrap_room')");
  refused({{"messages", Json::array()}}, extra);
  refused({{"disaggregated_params", {{"request_type", "context_only"}, {"room", 1}}}},
          "'loc': ('body', 'disaggregated_params', 'room')");
  refused({{"stream", true}, {"stream_options", {{"usage", true}}}}, extra);
  refused({{"response_format", {{"type", "json_schema"}, {"strict", true}}}}, extra);
  refused({{"stream_options", {{"include_usage", true}}}},
          "Stream options can only be defined when stream is true.");
  refused({{"max_tokens", "x"}}, "Input should be a valid integer");
}

TEST_F(Trtllm, OtherRefusalsAreBadRequests) {
  Json body = completion(kPrompt);
  body["top_p"] = 2;
  const auto call = street.post(single, "/v1/completions", body);
  EXPECT_EQ(call->status, 400U);
  EXPECT_EQ(call->json()["message"], "require 0 <= top_p <= 1, got top_p=2");
  EXPECT_EQ(call->json()["type"], "BadRequestError");
}

TEST_F(Trtllm, LegsThatNoRouterShouldSendAreCounted) {
  Json body = completion(kPrompt);
  (void)street.post(decode, "/v1/completions", context_leg(body, 5));
  EXPECT_EQ(violations(decode),
            (Json{{"disagg_request_id_is_a_servers_own", 1}, {"wrong_role", 1}}));
  body["n"] = 2;
  (void)street.post(prefill, "/v1/completions", context_leg(body));
  EXPECT_EQ(violations(prefill), (Json{{"handoff_of_several", 1}}));
}

TEST_F(Trtllm, ItSaysWhatItIs) {
  EXPECT_EQ(street.get(prefill, "/version")->json(), (Json{{"version", "1.3.0"}}));
  EXPECT_EQ(street.get(prefill, "/v1/models")->json()["data"][0]["owned_by"], "tensorrt_llm");
  EXPECT_TRUE(street.get(prefill, "/server_info")
                  ->json()["disaggregated_params"]["ctx_info_endpoint"]
                  .is_string());
  EXPECT_EQ(street.get(prefill, "/health")->status, 200U);
  EXPECT_TRUE(street.get(prefill, "/metrics")->json()[0].contains("kvCacheStats"));
  EXPECT_THAT(street.get(prefill, "/prometheus/metrics")->body,
              HasSubstr("trtllm_kv_cache_tokens_per_block{model_name=\"undefined\","
                        "engine_type=\"undefined\"} 16"));
}

}  // namespace
}  // namespace baton::adapters::mock::testing
