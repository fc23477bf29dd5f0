// The life of a request before TensorRT-LLM's servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/engines/trtllm/trtllm_connector.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = Script::Kind;

json context_params_of(const http::Request& request) {
  return json::parse(request.body).value("disaggregated_params", json());
}

// What a context server answers to the request, with another number where `wrong_by` says so.
Script context_answer(const std::string& reason = "length", int wrong_by = 0) {
  Script script{.kind = Kind::kStatus, .status = 200};
  script.answer = [reason, wrong_by](const http::Request& request) {
    const auto number = context_params_of(request).at("disagg_request_id").get<std::int64_t>();
    const json choice = {{"index", 0},
                         {"message", {{"role", "assistant"}, {"content", "x"}}},
                         {"finish_reason", reason},
                         {"disaggregated_params",
                          {{"request_type", "context_only"},
                           {"ctx_request_id", 7},
                           {"disagg_request_id", number + wrong_by}}}};
    return json{{"object", "chat.completion"},
                {"choices", {choice}},
                {"usage", {{"prompt_tokens", 3}, {"completion_tokens", 1}}},
                {"prompt_token_ids", {1, 2, 3}}}
        .dump();
  };
  return script;
}

class TrtllmLifeTest : public ::testing::Test {
 protected:
  TrtllmLifeTest() {
    prefill = &router.add_pod("p0", Role::kPrefill);
    decode = &router.add_pod("d0", Role::kDecode);
    router.publish();
  }
  void expect_left(Call& call) {
    call.leave.emit(asio::cancellation_type::terminal);
    ASSERT_TRUE(router.finish(call));
    ASSERT_TRUE(router.run_until([&] { return prefill->open + decode->open == 0; }));
    EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="client_left",pool="chat"})"), 1);
  }

  adapters::TrtllmConnector connector;
  Router router{Router::default_pool(), true, &connector};
  TestPod* prefill;
  TestPod* decode;
};

TEST_F(TrtllmLifeTest, TheParametersGoToTheGenerationServerAndItsStreamToTheClient) {
  prefill->will(context_answer());
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  ASSERT_EQ(decode->requests.size(), 1U);
  const json params = context_params_of(decode->requests[0]);
  EXPECT_EQ(params.at("request_type"), "generation_only");
  EXPECT_EQ(params.at("disagg_request_id"),
            context_params_of(prefill->requests[0]).at("disagg_request_id"));
  EXPECT_EQ(json::parse(decode->requests[0].body).at("prompt_token_ids"), (json{1, 2, 3}));
}

TEST_F(TrtllmLifeTest, ARequestThatEndsWithItsFirstTokenNeedsNoGenerationServer) {
  prefill->will(context_answer("stop"));
  const auto unary = router.chat(false);
  ASSERT_TRUE(router.finish(*unary));
  EXPECT_EQ(unary->status, 200U);
  EXPECT_EQ(unary->field("content-type"), "application/json");
  EXPECT_EQ(json::parse(unary->body).at("choices")[0].at("message").at("content"), "x");
  EXPECT_THAT(unary->body, Not(HasSubstr("disaggregated_params")));
  EXPECT_THAT(unary->body, Not(HasSubstr("prompt_token_ids")));

  prefill->will(context_answer("stop"));
  const auto streamed = router.chat(true);
  ASSERT_TRUE(router.finish(*streamed));
  EXPECT_EQ(streamed->status, 200U);
  EXPECT_EQ(streamed->field("content-type"), "text/event-stream");
  EXPECT_THAT(streamed->body, HasSubstr(R"("delta":{"content":"x","role":"assistant"})"));
  EXPECT_THAT(streamed->body, EndsWith("data: [DONE]\n\n"));
  EXPECT_TRUE(decode->requests.empty());
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="ok",pool="chat"})"), 2);
}

TEST_F(TrtllmLifeTest, ParametersOfAnotherRequestAreTriedAgainAndNeverShown) {
  prefill->will(context_answer("length", 1));
  prefill->will(context_answer());
  const auto call = router.chat(false);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->body, expected_body("hello").replace(expected_body("hello").find(":8"), 2, ":0"));
  ASSERT_EQ(prefill->requests.size(), 2U);
  EXPECT_NE(context_params_of(prefill->requests[0]), context_params_of(prefill->requests[1]));
  EXPECT_EQ(decode->requests.size(), 1U);
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 1);
}

TEST_F(TrtllmLifeTest, AFailedTransferIsTriedAgainWhateverItsStatus) {
  prefill->will(context_answer());
  prefill->will(context_answer());
  decode->will_refuse(400,
                      R"({"object":"error","message":"Error in kv cache transfer for generation )"
                      R"(requests","type":"BadRequestError","code":400})");
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill->requests.size(), 2U);
}

// openai_server.py (chat_stream_generator): the connection just ends.
TEST_F(TrtllmLifeTest, AStreamThatEndsBeforeItsFirstEventIsTriedAgain) {
  prefill->will(context_answer());
  prefill->will(context_answer());
  decode->will(Kind::kDropStream);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_THAT(call->body, EndsWith("data: [DONE]\n\n"));
}

TEST_F(TrtllmLifeTest, AnAnswerThatIsNoneIsAFailedContextLeg) {
  TestPod& other = router.add_pod("p1", Role::kPrefill);
  router.publish();
  for (TestPod* pod : {prefill, &other}) {
    pod->will_refuse(200, "null");  // what the server sends as it shuts down
    pod->will(context_answer());
  }
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_GE(prefill->requests.size() + other.requests.size(), 2U) << "another one was asked";
}

TEST_F(TrtllmLifeTest, AClientThatLeavesStopsTheLegThatRuns) {
  prefill->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1; }));
  expect_left(*call);
  EXPECT_EQ(prefill->left, 1);
  EXPECT_TRUE(decode->requests.empty());
}

TEST_F(TrtllmLifeTest, AClientThatLeavesTheGenerationLegStopsIt) {
  prefill->will(context_answer());
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return decode->open == 1; }));
  expect_left(*call);
  EXPECT_EQ(decode->left, 1);
}

}  // namespace
}  // namespace baton::orchestrator::testing
