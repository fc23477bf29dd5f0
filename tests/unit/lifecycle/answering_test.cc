// Requests that go well, and those that never reach a pod.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kChat = "/v1/chat/completions";

class AnsweringTest : public ::testing::Test {
 protected:
  AnsweringTest() {
    prefill = &router.add_pod("p0", Role::kPrefill);
    decode = &router.add_pod("d0", Role::kDecode);
    router.publish();
  }
  json error_of(const Call& call) { return json::parse(call.body).at("error"); }

  Router router;
  TestPod* prefill;
  TestPod* decode;
};

TEST_F(AnsweringTest, AStreamIsRelayedByteForByteFromTwoLegs) {
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_FALSE(call->cut);
  EXPECT_EQ(call->body, expected_stream("hello"));
  EXPECT_EQ(call->field("content-type"), "text/event-stream");
  EXPECT_EQ(call->field("cache-control"), "no-cache");

  ASSERT_EQ(prefill->requests.size(), 1U);
  ASSERT_EQ(decode->requests.size(), 1U);
  const json producer = json::parse(prefill->requests[0].body);
  const json consumer = json::parse(decode->requests[0].body);
  EXPECT_EQ(producer.at("stream"), false);
  EXPECT_EQ(producer.at("max_tokens"), 1);
  EXPECT_EQ(consumer.at("stream"), true);
  EXPECT_EQ(consumer.at("max_tokens"), 8);
  EXPECT_EQ(producer.at("kv_transfer_params").at("baton").at("role"), "producer");
  EXPECT_EQ(consumer.at("kv_transfer_params").at("baton").at("role"), "consumer");
  EXPECT_EQ(producer.at("kv_transfer_params").at("baton").at("transfer_id"),
            consumer.at("kv_transfer_params").at("baton").at("transfer_id"));
  EXPECT_THAT(prefill->released, ElementsAre()) << "fetched blocks are not given back";

  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="ok",pool="chat"})"), 1);
  EXPECT_EQ(router.metric(R"(baton_open_requests{pool="chat"})"), 0);
  EXPECT_EQ(router.metric(R"(baton_ttft_seconds_count{plan="split",pool="chat"})"), 1);
  EXPECT_EQ(router.metric(R"(baton_tpot_seconds_count{pool="chat"})"), 1);
  EXPECT_EQ(router.metric(R"(baton_handoff_bytes_total{pool="chat",transport="shm"})"), 2048);
  EXPECT_EQ(router.metric(R"(baton_prompt_tokens_total{pool="chat"})"), 20);
  EXPECT_EQ(router.metric(R"(baton_cached_prompt_tokens_total{pool="chat"})"), 8);
}

TEST_F(AnsweringTest, ABodyKeepsItsLength) {
  const auto call = router.chat(false);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(call->body, expected_body("hello"));
  EXPECT_EQ(call->field("content-length"), std::to_string(call->body.size()));
  EXPECT_EQ(call->field("content-type"), "application/json");
}

TEST_F(AnsweringTest, NothingIsRelayedBeforeThePrefillLegIsGood) {
  const auto gate = std::make_shared<Happening>(router.io);
  prefill->will(Script{.gate = gate});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return decode->requests.size() == 1 && decode->open == 0; }));
  EXPECT_EQ(prefill->open, 1);
  EXPECT_EQ(call->status, 0U);
  gate->happen();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->body, expected_stream("hello"));
}

TEST_F(AnsweringTest, ThePlanIsShownWhereThatIsOn) {
  const auto call = router.chat(true, {{"x-baton-explain", "1"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->field("x-baton-prefill"), "p0");
  EXPECT_EQ(call->field("x-baton-decode"), "d0");
  const json timing = json::parse(call->field("x-baton-timing"));
  EXPECT_TRUE(timing.at("plan_us").is_number_integer());
  EXPECT_EQ(timing.at("retries"), 0);
  EXPECT_EQ(timing.at("queue_ms"), 0.5);
  const json plan = json::parse(call->field("x-baton-plan"));
  EXPECT_THAT(plan.dump(), HasSubstr("p0"));
  EXPECT_THAT(plan.dump(), ::testing::Not(HasSubstr("127.0.0.1")));
}

TEST_F(AnsweringTest, AStrangeTimingOfAPodIsLeftOut) {
  for (const std::string timing : {"", "{}", "text", "{\"a\":\"\xc3\xa9\"}"}) {
    decode->timing = timing;
    const auto call = router.chat();
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(json::parse(call->field("x-baton-timing")).size(), 2U) << timing;
  }
}

TEST(Answering, ThePlanIsNotShownOtherwise) {
  Router router(Router::default_pool(), false);
  router.add_pod("p0", Role::kPrefill);
  router.add_pod("d0", Role::kDecode);
  router.publish();
  const auto call = router.chat(true, {{"x-baton-explain", "1"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  for (const char* name : {"x-baton-prefill", "x-baton-decode", "x-baton-timing", "x-baton-plan"}) {
    EXPECT_EQ(call->field(name), "") << name;
  }
}

TEST_F(AnsweringTest, OnlyOurOwnFieldsReachAPod) {
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const auto call = router.chat(true, {{"x-request-id", "mine-1"},
                                       {"traceparent", trace},
                                       {"x-baton-decode", "d9"},
                                       {"x-prefiller-host-port", "10.0.0.1:80"},
                                       {"x-gateway-destination-endpoint", "10.0.0.1:80"},
                                       {"authorization", "Bearer secret"},
                                       {"cookie", "a=b"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->field("x-request-id"), "mine-1");
  for (const TestPod* pod : {prefill, decode}) {
    ASSERT_EQ(pod->requests.size(), 1U);
    std::vector<std::string> names;
    for (const auto& [name, value] : pod->requests[0].fields) names.push_back(name);
    EXPECT_THAT(names, ::testing::UnorderedElementsAre("host", "content-length", "content-type",
                                                       "x-request-id", "traceparent"));
    EXPECT_EQ(pod->requests[0].field("x-request-id"), "mine-1");
    EXPECT_EQ(pod->requests[0].field("traceparent"), trace);
  }
  EXPECT_EQ(router.metric("baton_stripped_request_fields_total"), 3);
}

TEST_F(AnsweringTest, AnUnsafeRequestIdIsReplaced) {
  const auto call = router.chat(true, {{"x-request-id", "a b\"c"}, {"traceparent", "nonsense"}});
  ASSERT_TRUE(router.finish(*call));
  const std::string id = call->field("x-request-id");
  EXPECT_EQ(id.size(), 32U);
  EXPECT_EQ(decode->requests[0].field("x-request-id"), id);
  EXPECT_EQ(decode->requests[0].field("traceparent"), "");
}

TEST_F(AnsweringTest, AnAliasIsSentUnderTheServedName) {
  const auto call =
      router.call("POST", kChat, R"({"model":"alias","messages":[{"role":"user","content":"x"}]})");
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(json::parse(prefill->requests[0].body).at("model"), "m");
  EXPECT_EQ(json::parse(decode->requests[0].body).at("model"), "m");
}

TEST_F(AnsweringTest, AnAdapterIsSentUnderItsOwnName) {
  const auto call =
      router.call("POST", "/v1/completions", R"({"model":"sql","prompt":[1,2,3],"max_tokens":2})");
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(decode->requests[0].target, "/v1/completions");
  EXPECT_EQ(json::parse(decode->requests[0].body).at("model"), "sql");
}

TEST_F(AnsweringTest, WhatCannotBeSplitGoesToADecodePodAsItIs) {
  const std::string body = R"({ "model":"m","prompt":"x","n":2 })";
  const auto call = router.call("POST", "/v1/completions", body);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_TRUE(prefill->requests.empty());
  ASSERT_EQ(decode->requests.size(), 1U);
  EXPECT_EQ(decode->requests[0].body, body);
  EXPECT_EQ(call->field("x-baton-prefill"), "");
  EXPECT_EQ(router.metric(R"(baton_ttft_seconds_count{plan="decode_only",pool="chat"})"), 1);
}

TEST_F(AnsweringTest, ModelsAreListedOnce) {
  const auto call = router.call("GET", "/v1/models?x=1", "");
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(call->field("x-request-id").size(), 32U);
  std::vector<std::string> ids;
  const json answer = json::parse(call->body);
  for (const json& model : answer.at("data")) ids.push_back(model.at("id"));
  EXPECT_THAT(ids, ElementsAre("m", "alias", "sql"));
  EXPECT_EQ(answer.at("data")[2].at("parent"), "m");
}

TEST_F(AnsweringTest, OtherPathsAndMethodsAreRefused) {
  for (const std::string path :
       {"/", "/v1/embeddings", "/metrics", "/v1/chat/completions/", "/v1"}) {
    const auto call = router.call("POST", path, "{}");
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 404U) << path;
    EXPECT_EQ(error_of(*call).at("type"), "invalid_request_error");
    EXPECT_FALSE(call->field("x-request-id").empty());
  }
  const auto get = router.call("GET", kChat, "");
  ASSERT_TRUE(router.finish(*get));
  EXPECT_EQ(get->status, 405U);
  EXPECT_EQ(get->field("allow"), "POST");
  const auto post = router.call("DELETE", "/v1/models", "");
  ASSERT_TRUE(router.finish(*post));
  EXPECT_EQ(post->status, 405U);
  EXPECT_EQ(post->field("allow"), "GET");
}

TEST_F(AnsweringTest, AnUnknownModelIsNamed) {
  const auto call =
      router.call("POST", kChat, R"({"model":"x\"y","messages":[{"role":"user","content":"x"}]})");
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 404U);
  const json error = error_of(*call);
  EXPECT_EQ(error.at("code"), "model_not_found");
  EXPECT_EQ(error.at("param"), "model");
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr("x\"y"));
  EXPECT_TRUE(decode->requests.empty());
}

TEST_F(AnsweringTest, ABadBodyIsRefusedNamingTheField) {
  const auto refused = [&](const std::string& body) {
    const auto call = router.call("POST", kChat, body);
    EXPECT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 400U) << body;
    return error_of(*call);
  };
  const std::string rest = R"("model":"m","messages":[{"role":"user","content":"x"}])";
  EXPECT_EQ(refused("{").at("type"), "invalid_request_error");
  EXPECT_EQ(refused("{" + rest + R"(,"max_tokens":0})").at("param"), "max_tokens");
  EXPECT_EQ(refused("{" + rest + R"(,"kv_transfer_params":{}})").at("param"), "kv_transfer_params");
  EXPECT_EQ(refused(R"({"messages":[]})").at("param"), "model");
  EXPECT_TRUE(prefill->requests.empty());
  EXPECT_EQ(router.metric("baton_unrouted_requests_total"), 4);
}

TEST_F(AnsweringTest, APodsOwnRefusalIsPassedOnAsItIs) {
  const std::string refusal = R"({"error":{"message":"too long","param":"messages"}})";
  prefill->will(Script::Kind::kHang);
  decode->will_refuse(400, refusal);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 400U);
  EXPECT_EQ(call->body, refusal);
  ASSERT_TRUE(router.run_until([&] { return prefill->left == 1; }));
  EXPECT_EQ(prefill->released.size(), 1U);
  EXPECT_EQ(decode->requests.size(), 1U) << "not retried";
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="client_error",pool="chat"})"), 1);
  EXPECT_EQ(router.load(*decode).consecutive_errors, 0);
}

TEST_F(AnsweringTest, ManyAtOnce) {
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 60; ++i) calls.push_back(router.chat(i % 2 == 0));
  for (const auto& call : calls) {
    ASSERT_TRUE(router.run_until([&] { return call->ended; }));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_FALSE(call->cut);
  }
  ASSERT_TRUE(router.run_until([&] { return router.settled(); }));
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="ok",pool="chat"})"), 60);
}

TEST_F(AnsweringTest, AClientThatDoesNotReadHoldsThePodBack) {
  constexpr std::size_t kFlood = 64 << 20;
  decode->will(Script{.kind = Script::Kind::kFlood, .flood_bytes = kFlood});
  const auto call = router.call(
      "POST", kChat, R"({"model":"m","messages":[{"role":"user","content":"x"}],"stream":true})",
      {}, true);
  // The pod is held when the thread has nothing left to do.
  std::size_t before = 0;
  ASSERT_TRUE(router.run_until([&] { return decode->flooded > 0; }));
  do {
    before = decode->flooded;
    while (router.io.poll() > 0) {
    }
    router.io.restart();
  } while (decode->flooded != before);
  EXPECT_LT(decode->flooded, kFlood / 2) << "more than sockets hold was taken from the pod";
  EXPECT_FALSE(call->ended);
  call->resume->happen();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_FALSE(call->cut);
  EXPECT_GE(call->body.size(), kFlood);
}

}  // namespace
}  // namespace baton::orchestrator::testing
