// The life of a request before vLLM's servers.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "adapters/engines/vllm/nixl_connector.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using Kind = Script::Kind;

constexpr std::string_view kParams =
    R"({"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"r","remote_host":"h",)"
    R"("remote_port":5600,"remote_block_ids":[[1]],"remote_num_tokens":3})";

std::string answer_with(std::string_view params) {
  return R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,)"
         R"("prompt_tokens_details":{"cached_tokens":8}},"kv_transfer_params":)" +
         std::string(params) + "}";
}

class VllmNixlLifeTest : public ::testing::Test {
 protected:
  VllmNixlLifeTest() {
    prefill = &router.add_pod("p0", Role::kPrefill);
    decode = &router.add_pod("d0", Role::kDecode);
    router.publish();
  }
  void prefill_answers(std::string_view params, int times = 1) {
    for (int i = 0; i < times; ++i) prefill->will_refuse(200, answer_with(params));
  }
  static json params_of(const http::Request& request) {
    return json::parse(request.body).value("kv_transfer_params", json());
  }

  // Requests of the model: not what is given back, which no model serves.
  static int legs_of(const TestPod& pod) {
    return static_cast<int>(std::ranges::count_if(pod.requests, [](const http::Request& request) {
      return json::parse(request.body).at("model") == "m";
    }));
  }

  adapters::VllmNixlConnector connector;
  Router router{Router::default_pool(), true, &connector};
  TestPod* prefill;
  TestPod* decode;
};

TEST_F(VllmNixlLifeTest, TheParametersGoToTheDecodePodAndItsStreamToTheClient) {
  prefill_answers(kParams);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(call->body, expected_stream("hello"));
  ASSERT_EQ(decode->requests.size(), 1U);
  EXPECT_EQ(params_of(decode->requests[0]), json::parse(kParams));
  EXPECT_EQ(decode->requests[0].field("x-request-id"), prefill->requests[0].field("x-request-id"));
}

TEST_F(VllmNixlLifeTest, AFailedPullIsTriedAgainAndNeverShown) {
  for (const bool stream : {true, false}) {
    prefill->requests.clear();
    prefill_answers(kParams, 2);
    if (stream) {
      decode->will(Kind::kErrorFirst);
    } else {
      decode->will_refuse(500, R"({"error":{"message":"Internal server error","code":500}})");
    }
    const auto call = router.chat(stream);
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_EQ(call->body, stream ? expected_stream("hello") : expected_body("hello"));
    EXPECT_EQ(prefill->requests.size(), 2U);
    EXPECT_EQ(decode->requests.size(), 3U) << "two legs, and what was not fetched given back";
    EXPECT_EQ(legs_of(*decode), 2);
    decode->requests.clear();
  }
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 2);
}

TEST_F(VllmNixlLifeTest, AFailedDecodePodNeedsANewPrefill) {
  TestPod& other = router.add_pod("d1", Role::kDecode);
  router.publish();
  prefill_answers(kParams, 2);
  for (TestPod* pod : {decode, &other}) {
    pod->will_refuse(503, "");
    pod->will_refuse(404, "");  // what is given back
  }
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(prefill->requests.size(), 2U);
  TestPod& first = legs_of(*decode) == 2 ? other : *decode;
  EXPECT_EQ(legs_of(first), 1) << "not the pod that failed";
}

// It did not take the blocks, and the pod that computed them would keep them for the next reader.
TEST_F(VllmNixlLifeTest, BlocksThatADecodePodDidNotTakeAreGivenBackThroughAnother) {
  prefill_answers(kParams, 2);
  decode->will_refuse(503, "");
  TestPod& other = router.add_pod("d1", Role::kDecode);
  other.will_refuse(404, "");
  const auto call = router.chat();  // planned before the other pod is known
  ASSERT_TRUE(router.run_until([&] { return prefill->requests.size() == 1; }));
  router.publish();
  ASSERT_TRUE(router.finish(*call));
  ASSERT_FALSE(other.requests.empty());
  EXPECT_NE(json::parse(other.requests[0].body).at("model"), "m");
  EXPECT_EQ(params_of(other.requests[0]), json::parse(kParams));
  EXPECT_EQ(router.metric(R"(baton_lease_releases_total{pool="chat",result="ok"})"), 1);
}

TEST_F(VllmNixlLifeTest, TheClientIsToldWhatThePrefillPodHadCached) {
  const std::string usage =
      R"("usage":{"prompt_tokens":3,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}})";
  const auto with = [](std::string text, const std::string& cached) {
    return text.replace(text.find("2}"), 1, cached);
  };
  for (const bool has_details : {true, false}) {
    prefill->will_refuse(
        200, R"({"choices":[],"usage":{"prompt_tokens":3)" +
                 std::string(has_details ? R"(,"prompt_tokens_details":{"cached_tokens":1})" : "") +
                 R"(},"kv_transfer_params":)" + std::string(kParams) + "}");
    decode->will_refuse(200, R"({"choices":[],)" + usage + "}");
    const auto call = router.chat(false);
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->body, R"({"choices":[],)" + with(usage, has_details ? "1" : "0") + "}");
  }
}

TEST_F(VllmNixlLifeTest, WithoutAHandoffTheDecodePodPrefillsAndThatIsCounted) {
  prefill_answers("null");
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->body, expected_stream("hello"));
  EXPECT_TRUE(params_of(decode->requests[0]).is_null());
  EXPECT_EQ(router.metric(R"(baton_handoffs_absent_total{pool="chat"})"), 1);
}

TEST_F(VllmNixlLifeTest, BlocksOfAnotherPromptNeverReachTheDecodePod) {
  prefill_answers(R"({"do_remote_prefill":true,"remote_block_ids":[]})", 2);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill->requests.size(), 2U) << "the pair once more, then decode alone";
  ASSERT_EQ(decode->requests.size(), 1U);
  EXPECT_TRUE(params_of(decode->requests[0]).is_null());
}

TEST(VllmNixlLease, BlocksThatMayBeGoneNeverReachTheDecodePod) {
  const adapters::VllmNixlConnector connector;
  PoolConfig pool = Router::default_pool();
  pool.lease = Duration::zero();
  Router router{pool, true, &connector};
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  router.publish();
  prefill.will_refuse(200, answer_with(kParams));
  prefill.will_refuse(200, answer_with(kParams));
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill.requests.size(), 2U) << "the pair once more, then decode alone";
  int with_params = 0;
  for (const http::Request& request : decode.requests) {
    const json body = json::parse(request.body);
    // What was not handed on is given back by a request that no model serves.
    if (body.contains("kv_transfer_params") && body.at("model") == "m") ++with_params;
  }
  EXPECT_EQ(with_params, 0);
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 2);
}

}  // namespace
}  // namespace baton::orchestrator::testing
