// vLLM's NixlPushConnector, as 0.32.0 has it (nixl/push_scheduler.py, push_worker.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

MockOptions push(Role role) {
  MockOptions options;
  options.engine = "vllm-nixl-push";
  options.role = role;
  return options;
}

class NixlPush : public ::testing::Test {
 protected:
  Json decode_body(Json body) {
    const MockOptions& options = prefill.options();
    body["kv_transfer_params"] = {{"do_remote_prefill", true},
                                  {"do_remote_decode", false},
                                  {"remote_engine_id", options.engine_id},
                                  {"remote_request_id", "cmpl-abc-0"},
                                  {"remote_host", options.side_channel_host},
                                  {"remote_port", options.side_channel_port},
                                  {"tp_size", 1},
                                  {"pp_size", 1}};
    return body;
  }
  std::shared_ptr<Call> begin(const MockPod& pod, const Json& body, const std::string& id = "abc") {
    return street.begin(pod, "POST", "/v1/completions", dump(body),
                        {{"content-type", "application/json"}, {"x-request-id", id}});
  }
  bool wait_for(const MockPod& pod, const char* figure, std::int64_t value) {
    return street.run_until([&] { return street.ledger(pod)[figure] == value; });
  }
  Json violations(const MockPod& pod) { return street.ledger(pod)["violations"]; }

  Street street;
  MockPod& prefill = street.add(push(Role::kPrefill));
  MockPod& decode = street.add(push(Role::kDecode));
  MockPod& single = street.add(push(Role::kBoth));
  Json asked = completion(kPrompt, 12);
};

TEST_F(NixlPush, WhicheverLegComesFirstTheAnswerIsThatOfOneServer) {
  const Json alone = street.post(single, "/v1/completions", asked)->json();
  for (const bool prefill_first : {true, false}) {
    const std::string id = prefill_first ? "one" : "two";
    std::shared_ptr<Call> first;
    std::shared_ptr<Call> second;
    if (prefill_first) {
      first = begin(prefill, prefill_leg(asked), id);
      ASSERT_TRUE(street.run_until([&] { return first->ended; }));
      second = begin(decode, decode_body(asked), id);
    } else {
      second = begin(decode, decode_body(asked), id);
      ASSERT_TRUE(wait_for(prefill, "registered", 1));
      first = begin(prefill, prefill_leg(asked), id);
    }
    ASSERT_TRUE(street.run_until([&] { return first->ended && second->ended; }));
    EXPECT_EQ(second->json()["choices"][0]["text"], alone["choices"][0]["text"]);
    EXPECT_EQ(first->json()["kv_transfer_params"]["transfer_mode"], "push");
    EXPECT_FALSE(first->json()["kv_transfer_params"].contains("remote_blocks_expiry_time"));
  }
  EXPECT_EQ(street.ledger(prefill)["pinned_blocks"], 0);
  EXPECT_EQ(street.ledger(prefill)["registered"], 0);
  EXPECT_EQ(violations(prefill), Json::object());
  EXPECT_EQ(violations(decode), Json::object());
}

// push_worker.py:398: only a request of the same id is its other half.
TEST_F(NixlPush, OfAnotherIdNobodyPushesAndTheDecodeLegWaits) {
  const auto second = begin(decode, decode_body(asked), "mine");
  ASSERT_TRUE(wait_for(prefill, "registered", 1));
  const auto first = begin(prefill, prefill_leg(asked), "other");
  ASSERT_TRUE(street.run_until([&] { return first->ended; }));
  EXPECT_EQ(street.ledger(prefill)["registered"], 1);
  EXPECT_FALSE(second->ended);
  second->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(wait_for(prefill, "registered", 0));
}

// push_scheduler.py:196: a KeyError, of which the engine dies.
TEST_F(NixlPush, AMissingKeyEndsTheEngine) {
  Json wrong = decode_body(asked);
  wrong["kv_transfer_params"].erase("tp_size");
  const auto call = begin(decode, wrong);
  ASSERT_TRUE(street.run_until([&] { return call->ended; }));
  EXPECT_EQ(call->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"missing_keys", 1}}));
  EXPECT_EQ(street.get(decode, "/health")->status, 503U);
}

TEST_F(NixlPush, OtherPromptsAndOtherEnginesFail) {
  const auto first = begin(prefill, prefill_leg(completion("Of the land.")));
  ASSERT_TRUE(street.run_until([&] { return first->ended; }));
  const auto second = begin(decode, decode_body(asked));
  ASSERT_TRUE(street.run_until([&] { return second->ended; }));
  EXPECT_EQ(second->status, 500U);
  Json wrong = decode_body(asked);
  wrong["kv_transfer_params"]["remote_engine_id"] = "another";
  const auto third = begin(decode, wrong);
  ASSERT_TRUE(street.run_until([&] { return third->ended; }));
  EXPECT_EQ(violations(decode), (Json{{"tokens_differ", 1}, {"wrong_engine_id", 1}}));
}

}  // namespace
}  // namespace baton::adapters::mock::testing
