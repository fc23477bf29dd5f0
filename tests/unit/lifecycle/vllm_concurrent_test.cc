// The life of a request before vLLM's servers that get both legs at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/engines/vllm/mooncake_connector.h"
#include "adapters/engines/vllm/nixl_push_connector.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using Kind = Script::Kind;

json params_of(const http::Request& request) {
  return json::parse(request.body).value("kv_transfer_params", json());
}

class ConcurrentLifeTest : public ::testing::Test {
 protected:
  explicit ConcurrentLifeTest(const adapters::Connector& connector)
      : router(Router::default_pool(), true, &connector) {
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

  Router router;
  TestPod* prefill;
  TestPod* decode;
};

const adapters::VllmNixlPushConnector kPush;
const adapters::VllmMooncakeConnector kMooncake;

class PushLifeTest : public ConcurrentLifeTest {
 protected:
  PushLifeTest() : ConcurrentLifeTest(kPush) {}
  static std::string answer_of(const std::string& engine) {
    const json params = {{"do_remote_prefill", true},  {"remote_request_id", "r"},
                         {"remote_engine_id", engine}, {"remote_host", "h"},
                         {"remote_port", 5600},        {"remote_block_ids", {{1}}},
                         {"remote_num_tokens", 3}};
    return json{
        {"choices", json::array()},
        {"usage", {{"prompt_tokens", 3}, {"prompt_tokens_details", {{"cached_tokens", 1}}}}},
        {"kv_transfer_params", params}}
        .dump();
  }
};

TEST_F(PushLifeTest, BothLegsHaveAnIdOfTheirOwnAndDecodeIsToldTheEngine) {
  prefill->will_refuse(200, answer_of("engine-p0"));
  const auto call = router.chat(false, {{"x-request-id", "chosen-1"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(call->field("x-request-id"), "chosen-1");
  const std::string id{prefill->requests.at(0).field("x-request-id")};
  EXPECT_TRUE(id.starts_with("chosen-1-"));
  EXPECT_EQ(decode->requests.at(0).field("x-request-id"), id);
  EXPECT_EQ(params_of(decode->requests[0]).at("remote_engine_id"), "engine-p0");
  EXPECT_EQ(params_of(decode->requests[0]).at("remote_request_id"), "chatcmpl-" + id);
}

TEST_F(PushLifeTest, TheClientIsToldWhatThePrefillPodHadCached) {
  prefill->will_refuse(200, answer_of("engine-p0"));
  const auto call = router.chat(false);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(json::parse(call->body).at("usage").at("prompt_tokens_details").at("cached_tokens"), 1);
}

TEST_F(PushLifeTest, AnotherEnginesAnswerIsTriedAgainAndNeverShown) {
  prefill->will_refuse(200, answer_of("engine-of-the-last-start"));
  prefill->will_refuse(200, answer_of("engine-p0"));
  decode->will(Kind::kHang);
  const auto call = router.chat(true);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(decode->left, 1);
  ASSERT_EQ(prefill->requests.size(), 2U);
  EXPECT_NE(prefill->requests[0].field("x-request-id"), prefill->requests[1].field("x-request-id"))
      << "blocks of the first would be written to the second";
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 1);
}

TEST_F(PushLifeTest, AFailedPrefillCancelsDecodeAtOnce) {
  prefill->will_refuse(500, "");
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(decode->left, 1);
  EXPECT_EQ(call->body, expected_stream("hello")) << "the decode pod computes the prompt";
  EXPECT_TRUE(params_of(decode->requests.at(1)).is_null());
}

TEST_F(PushLifeTest, AClientThatLeavesStopsBothLegs) {
  prefill->will(Kind::kHang);
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1 && decode->open == 1; }));
  expect_left(*call);
  EXPECT_EQ(prefill->left, 1);
  EXPECT_EQ(decode->left, 1);
}

class MooncakeLifeTest : public ConcurrentLifeTest {
 protected:
  MooncakeLifeTest() : ConcurrentLifeTest(kMooncake) {}
  static std::string answer_of(const std::string& reason) {
    return R"({"choices":[{"index":0,"finish_reason":")" + reason +
           R"("}],"usage":{"prompt_tokens":3}})";
  }
};

TEST_F(MooncakeLifeTest, BothLegsNameOneTransfer) {
  prefill->will_refuse(200, answer_of("length"));
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  const json given = params_of(prefill->requests.at(0));
  EXPECT_EQ(params_of(decode->requests.at(0)).at("transfer_id"), given.at("transfer_id"));
  EXPECT_EQ(params_of(decode->requests[0]).at("remote_bootstrap_addr"), "http://127.0.0.1:1");
}

TEST_F(MooncakeLifeTest, APrefillThatKeptNoBlocksIsTriedAgainAndNeverShown) {
  prefill->will_refuse(200, answer_of("stop"));
  prefill->will_refuse(200, answer_of("length"));
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(decode->left, 1) << "it would wait for minutes";
  ASSERT_EQ(prefill->requests.size(), 2U);
  EXPECT_NE(params_of(prefill->requests[0]), params_of(prefill->requests[1]));
}

TEST_F(MooncakeLifeTest, AFailedPullIsTriedAgainAndNeverShown) {
  prefill->will_refuse(200, answer_of("length"));
  prefill->will_refuse(200, answer_of("length"));
  decode->will({.kind = Kind::kErrorFirst,
                .body = R"({"error":{"message":"Internal server error","code":500}})"});
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill->requests.size(), 2U);
}

TEST_F(MooncakeLifeTest, AClientThatLeavesAfterPrefillStopsDecode) {
  prefill->will_refuse(200, answer_of("length"));
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] {
    return decode->open == 1 &&
           router.metric(R"(baton_leg_seconds_count{leg="prefill",pool="chat"})") == 1;
  }));
  expect_left(*call);
  EXPECT_EQ(decode->left, 1);
}

}  // namespace
}  // namespace baton::orchestrator::testing
