// The hand-off of vLLM's NixlConnector in pull mode, as 0.32.0 has it
// (distributed/kv_transfer/kv_connector/v1/nixl/).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

std::string text_of_answer(const Call& call) { return call.json()["choices"][0]["text"]; }

// A street with one pair, and the answer of a prefill leg.
class Nixl : public ::testing::Test {
 protected:
  Json prefilled(const Json& body) {
    const auto call =
        street.post(prefill, "/v1/completions", prefill_leg(body), {{"x-request-id", "abc"}});
    EXPECT_EQ(call->status, 200U) << call->body;
    return call->json();
  }
  std::string alone(const Json& body) {
    const auto call = street.post(single, "/v1/completions", body);
    EXPECT_EQ(call->status, 200U) << call->body;
    return text_of_answer(*call);
  }
  void expect_clean() {
    EXPECT_TRUE(street.run_until([this] { return pinned() == 0; }));
    EXPECT_EQ(violations(), Json::object());
    EXPECT_EQ(street.ledger(decode)["ranks"][0]["used_blocks"], 0);
    EXPECT_EQ(street.ledger(prefill)["ranks"][0]["used_blocks"], 0);
  }
  std::int64_t pinned() { return street.ledger(prefill)["pinned_blocks"]; }
  Json violations() { return street.ledger(decode)["violations"]; }

  Street street;
  MockPod& prefill = street.prefill();
  MockPod& decode = street.decode();
  MockPod& single = street.add({});
};

TEST_F(Nixl, ASplitAnswerIsThatOfOneServer) {
  const Json body = completion(kPrompt, 20);
  const Json first = prefilled(body);
  EXPECT_GT(pinned(), 0);
  const auto second = street.post(decode, "/v1/completions", decode_leg(body, first));
  EXPECT_EQ(second->status, 200U) << second->body;
  EXPECT_EQ(text_of_answer(*second), alone(body));
  EXPECT_EQ(street.metric(decode,
                          "vllm:nixl_xfer_time_seconds_count{engine=\"0\","
                          "model_name=\"mock-model\"}"),
            1);
  expect_clean();
}

// pull_scheduler.py:275 and v1/core/sched/scheduler.py:2239.
TEST_F(Nixl, ThePrefillAnswerTellsTheParametersOfTheEngine) {
  const Json answer = prefilled(completion(kPrompt));
  const Json& params = answer["kv_transfer_params"];
  std::vector<std::string> names;
  for (const auto& [name, value] : params.items()) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"do_remote_prefill", "do_remote_decode", "remote_block_ids",
                                      "remote_engine_id", "remote_request_id", "remote_host",
                                      "remote_port", "tp_size", "dcp_size", "pp_size",
                                      "remote_num_tokens", "remote_blocks_expiry_time",
                                      "transfer_mode", "remote_prefill_cached_tokens"}));
  EXPECT_EQ(params["do_remote_prefill"], true);
  EXPECT_THAT(params["remote_request_id"].get<std::string>(),
              ::testing::MatchesRegex("cmpl-abc-0-[0-9a-f]{8}"));
  EXPECT_EQ(params["remote_num_tokens"], answer["usage"]["prompt_tokens"]);
  const int tokens = answer["usage"]["prompt_tokens"];
  EXPECT_EQ(params["remote_block_ids"][0].size(), static_cast<std::size_t>((tokens + 15) / 16));
  EXPECT_EQ(answer["id"], "cmpl-abc");
  EXPECT_EQ(params["remote_engine_id"], prefill.options().engine_id);
}

TEST_F(Nixl, WithoutParametersNothingIsKept) {
  const auto call = street.post(prefill, "/v1/completions", completion(kPrompt, 1));
  EXPECT_TRUE(call->json()["kv_transfer_params"].is_null());
  EXPECT_EQ(pinned(), 0);
}

TEST_F(Nixl, CachedTokensOfTheDecodeLegAreThoseOfPrefill) {
  MockOptions details;
  details.prompt_tokens_details = true;
  MockPod& telling = street.decode(details);
  const Json body = completion(kPrompt);
  (void)street.post(decode, "/v1/completions", decode_leg(body, prefilled(body)));
  const Json again = prefilled(body);  // now the prefill pod holds it
  const int cached = again["kv_transfer_params"]["remote_prefill_cached_tokens"];
  EXPECT_GT(cached, 0);
  Json told = decode_leg(body, again);
  const auto answer = street.post(telling, "/v1/completions", told);
  EXPECT_EQ(answer->json()["usage"]["prompt_tokens_details"]["cached_tokens"], cached);
}

TEST_F(Nixl, AStreamedDecodeLegHasNoParameters) {
  Json body = completion(kPrompt, 5);
  body["stream"] = true;
  const auto call = street.post(decode, "/v1/completions", decode_leg(body, prefilled(body)));
  EXPECT_THAT(call->body, ::testing::Not(HasSubstr("kv_transfer_params")));
  EXPECT_EQ(call->events().back(), "[DONE]");
  expect_clean();
}

struct Wrong {
  const char* name;
  void (*change)(Json& params, Json& body);
  const char* violation;
};

class NixlViolation : public Nixl, public ::testing::WithParamInterface<Wrong> {};

TEST_P(NixlViolation, IsAnInternalErrorAndIsCounted) {
  const Json body = completion(kPrompt);
  Json leg = decode_leg(body, prefilled(body));
  GetParam().change(leg["kv_transfer_params"], leg);
  const auto whole = street.post(decode, "/v1/completions", leg);
  EXPECT_EQ(whole->status, 500U);
  EXPECT_EQ(whole->json()["error"]["type"], "InternalServerError");
  EXPECT_EQ(violations()[GetParam().violation], 1);

  leg["stream"] = true;
  const auto streamed = street.post(decode, "/v1/completions", leg);
  EXPECT_EQ(streamed->status, 200U);
  ASSERT_EQ(streamed->events().size(), 2U);
  EXPECT_EQ(streamed->events()[0]["error"]["code"], 500);
  EXPECT_EQ(violations()[GetParam().violation], 2);
  EXPECT_THAT(street.requests(decode)[0]["violations"], Contains(GetParam().violation));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, NixlViolation,
    ::testing::Values(
        Wrong{"request", [](Json& p, Json&) { p["remote_request_id"] = "cmpl-other-0-00000000"; },
              "unknown_request"},
        Wrong{"engine", [](Json& p, Json&) { p["remote_engine_id"] = "other"; }, "wrong_engine_id"},
        Wrong{"blocks", [](Json& p, Json&) { p["remote_block_ids"][0][0] = 4095; },
              "block_ids_differ"},
        Wrong{"fewer_blocks", [](Json& p, Json&) { p["remote_block_ids"][0].erase(0); },
              "block_ids_differ"},
        Wrong{"prompt", [](Json&, Json& b) { b["prompt"] = kPrompt + " And more."; },
              "tokens_differ"}),
    [](const auto& test) { return test.param.name; });

TEST_F(Nixl, BlocksHaveOneReader) {
  const Json body = completion(kPrompt);
  const Json leg = decode_leg(body, prefilled(body));
  EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 200U);
  EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 500U);
  EXPECT_EQ(violations(), Json({{"second_reader", 1}}));
}

TEST_F(Nixl, TwoAnswersOfOnePromptReadTwice) {
  Json body = completion(kPrompt);
  body["temperature"] = 1.0;
  Json leg = decode_leg(body, prefilled(body));
  leg["n"] = 2;
  EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 500U);
  EXPECT_EQ(violations()["second_reader"], 1);
}

TEST_F(Nixl, AFailedLoadIsRecomputedWhereThePolicySaysSo) {
  MockOptions recompute;
  recompute.recompute_failed_loads = true;
  MockPod& lenient = street.decode(recompute);
  const Json body = completion(kPrompt, 12);
  Json leg = decode_leg(body, prefilled(body));
  leg["kv_transfer_params"]["remote_request_id"] = "cmpl-other-0-00000000";
  const auto call = street.post(lenient, "/v1/completions", leg);
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(text_of_answer(*call), alone(body));
  EXPECT_EQ(street.ledger(lenient)["violations"]["unknown_request"], 1);
}

// The other leg's server is gone: no violation, but a failed transfer.
TEST_F(Nixl, ADeadPrefillPodIsAFailedTransfer) {
  const Json body = completion(kPrompt);
  const Json leg = decode_leg(body, prefilled(body));
  prefill.stop();
  EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 500U);
  EXPECT_EQ(violations(), Json::object());
  EXPECT_EQ(street.metric(decode,
                          "vllm:nixl_num_failed_transfers_total{engine=\"0\","
                          "model_name=\"mock-model\"}"),
            1);
}

// pull_scheduler.py:171, assert num_external_tokens == 0; and the worker's own for two prompts.
TEST_F(Nixl, ParametersWithoutBlocksOrForTwoPromptsEndTheEngine) {
  for (const bool two : {false, true}) {
    MockPod& victim = street.decode();
    Json running = completion(kPrompt, 4000);
    running["ignore_eos"] = true;
    const Json body = completion(kPrompt);
    Json leg = decode_leg(body, prefilled(body));
    if (two) {
      leg["prompt"] = {kPrompt, kPrompt};
    } else {
      leg["kv_transfer_params"]["remote_block_ids"] = nullptr;
    }
    const auto bystander = street.begin(victim, "POST", "/v1/completions", dump(running),
                                        {{"content-type", "application/json"}});
    EXPECT_TRUE(street.run_until([&] { return victim.parts().ranks[0]->engine().live() > 0; }));
    EXPECT_EQ(street.post(victim, "/v1/completions", leg)->status, 500U);
    EXPECT_TRUE(street.run_until([&] { return bystander->ended; }));
    EXPECT_EQ(bystander->status, 500U);
    EXPECT_EQ(street.get(victim, "/health")->status, 503U);
    EXPECT_EQ(street.post(victim, "/v1/completions", body)->status, 500U);
    EXPECT_EQ(street.ledger(victim)["violations"].size(), 1U);
  }
}

// pull_scheduler.py:162: "Got invalid KVTransferParams", yet the scheduler waits for the KV.
TEST_F(Nixl, MissingKeysWaitForKvThatNobodyFetches) {
  const Json body = completion(kPrompt);
  Json leg = decode_leg(body, prefilled(body));
  leg["kv_transfer_params"].erase("remote_request_id");
  const auto call = street.begin(decode, "POST", "/v1/completions", dump(leg),
                                 {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return street.ledger(decode)["violations"].size() == 1; }));
  EXPECT_EQ(violations(), Json({{"missing_keys", 1}}));
  EXPECT_EQ(street.metric(decode,
                          "vllm:num_requests_waiting_by_reason{engine=\"0\","
                          "model_name=\"mock-model\",reason=\"deferred\"}"),
            1);
  call->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(
      street.run_until([&] { return street.ledger(decode)["ranks"][0]["live_sequences"] == 0; }));
}

TEST_F(Nixl, ALeaseEndsAndIsCountedAtBothSides) {
  MockOptions short_lease;
  short_lease.lease = std::chrono::milliseconds(30);
  MockPod& hasty = street.prefill(short_lease);
  const Json body = completion(kPrompt);
  const auto first = street.post(hasty, "/v1/completions", prefill_leg(body));
  EXPECT_TRUE(street.run_until([&] { return street.ledger(hasty)["pinned_blocks"] == 0; }));
  EXPECT_EQ(street.metric(hasty,
                          "vllm:nixl_num_kv_expired_reqs_total{engine=\"0\","
                          "model_name=\"mock-model\"}"),
            1);
  EXPECT_EQ(street.ledger(hasty)["ranks"][0]["used_blocks"], 0);
  EXPECT_EQ(street.post(decode, "/v1/completions", decode_leg(body, first->json()))->status, 500U);
  EXPECT_EQ(violations(), Json({{"lease_expired", 1}}));
}

TEST_F(Nixl, HeartbeatsKeepALeaseWhileTheDecodeLegWaits) {
  MockOptions lease;
  lease.lease = std::chrono::milliseconds(120);
  MockPod& hasty = street.prefill(lease);
  lease.model_options.max_num_seqs = 1;
  lease.model_options.timing = *engine_model::parse_latency_profile("step_ms=10");
  MockPod& busy = street.decode(lease);
  Json long_one = completion("another prompt", 60);
  const auto first_in_line = street.begin(busy, "POST", "/v1/completions", dump(long_one),
                                          {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return busy.parts().ranks[0]->engine().live() > 0; }));
  const Json body = completion(kPrompt);
  const auto first = street.post(hasty, "/v1/completions", prefill_leg(body));
  const auto second = street.post(busy, "/v1/completions", decode_leg(body, first->json()));
  EXPECT_EQ(second->status, 200U) << second->body;
  EXPECT_EQ(street.ledger(busy)["violations"], Json::object());
}

// entrypoints/generate/base/serving.py:246, _with_kv_transfer_rejection_cleanup.
TEST_F(Nixl, ADecodeLegThatTheServingLayerRefusesFreesTheBlocks) {
  const Json body = completion(kPrompt);
  for (const auto& [field, value] : {std::pair<const char*, Json>{"model", "unknown"},
                                     {"max_tokens", 100000},
                                     {"min_tokens", 100},
                                     {"temperature", -1},
                                     {"logprobs", 1000}}) {
    Json leg = decode_leg(body, prefilled(body));
    EXPECT_GT(pinned(), 0);
    leg[field] = value;
    const auto call = street.post(decode, "/v1/completions", leg);
    EXPECT_GE(call->status, 400U) << field;
    EXPECT_TRUE(street.run_until([this] { return pinned() == 0; })) << field;
  }
  EXPECT_EQ(violations(), Json::object());
}

TEST_F(Nixl, ARefusalOfTheBodyItselfTellsNobody) {
  const Json body = completion(kPrompt);
  Json leg = decode_leg(body, prefilled(body));
  leg["stream_options"] = {{"include_usage", true}};
  EXPECT_EQ(street.post(decode, "/v1/completions", leg)->status, 400U);
  (void)street.get(decode, "/health");
  EXPECT_GT(pinned(), 0);
}

TEST_F(Nixl, AClientThatLeavesAQueuedDecodeLegFreesTheBlocks) {
  MockOptions slow;
  slow.model_options.max_num_seqs = 1;
  slow.model_options.timing = *engine_model::parse_latency_profile("step_ms=20");
  MockPod& busy = street.decode(slow);
  const auto other = street.begin(busy, "POST", "/v1/completions", dump(completion("x", 500)),
                                  {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return busy.parts().ranks[0]->engine().live() == 1; }));
  const Json body = completion(kPrompt);
  const auto leg =
      street.begin(busy, "POST", "/v1/completions", dump(decode_leg(body, prefilled(body))),
                   {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return busy.parts().ranks[0]->engine().live() == 2; }));
  leg->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(street.run_until([this] { return pinned() == 0; }));
}

TEST_F(Nixl, AClientThatLeavesThePrefillLegFreesTheBlocks) {
  MockOptions slow;
  slow.model_options.timing = *engine_model::parse_latency_profile("prefill_ms=10000");
  MockPod& thinking = street.prefill(slow);
  const auto leg =
      street.begin(thinking, "POST", "/v1/completions", dump(prefill_leg(completion(kPrompt))),
                   {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return thinking.parts().ranks[0]->engine().live() == 1; }));
  leg->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(
      street.run_until([&] { return street.ledger(thinking)["ranks"][0]["used_blocks"] == 0; }));
}

TEST_F(Nixl, AnotherVersionFailsTheHandshake) {
  MockOptions other;
  other.model_options.block_tokens = Tokens(32);
  MockPod& unequal = street.decode(other);
  const Json body = completion(kPrompt);
  EXPECT_EQ(street.post(unequal, "/v1/completions", decode_leg(body, prefilled(body)))->status,
            500U);
  EXPECT_EQ(street.ledger(unequal)["violations"], Json({{"version_mismatch", 1}}));
}

TEST_F(Nixl, WrongKvShowsInTheText) {
  street.set_faults(prefill, "wrong_kv:1");
  const Json body = completion(kPrompt, 12);
  const auto call = street.post(decode, "/v1/completions", decode_leg(body, prefilled(body)));
  EXPECT_EQ(call->status, 200U);
  EXPECT_NE(text_of_answer(*call), alone(body));
  EXPECT_EQ(violations(), Json::object());
}

TEST_F(Nixl, AbsentParametersKeepNothing) {
  street.set_faults(prefill, "absent_params:1");
  EXPECT_TRUE(prefilled(completion(kPrompt))["kv_transfer_params"].is_null());
  EXPECT_EQ(pinned(), 0);
  EXPECT_FALSE(prefilled(completion(kPrompt))["kv_transfer_params"].is_null());
}

TEST_F(Nixl, WhatNoRouterShouldSendIsCounted) {
  Json uncapped = prefill_leg(completion(kPrompt));
  uncapped["max_tokens"] = 5;
  (void)street.post(prefill, "/v1/completions", uncapped);
  Json streamed = prefill_leg(completion(kPrompt));
  streamed["stream"] = true;
  (void)street.post(prefill, "/v1/completions", streamed);
  (void)street.post(decode, "/v1/completions", prefill_leg(completion(kPrompt)));
  (void)street.post(prefill, "/v1/completions", completion(kPrompt));
  EXPECT_EQ(street.ledger(prefill)["violations"],
            Json({{"prefill_not_capped", 1}, {"prefill_streams", 1}, {"wrong_role", 1}}));
  EXPECT_EQ(violations(), Json({{"wrong_role", 1}}));
}

TEST_F(Nixl, RanksHaveAPoolEachAndAreNamed) {
  MockOptions two;
  two.data_parallel_size = 2;
  MockPod& ranks = street.prefill(two);
  const Json body = completion(kPrompt);
  const auto first =
      street.post(ranks, "/v1/completions", prefill_leg(body), {{"x-data-parallel-rank", "1"}});
  EXPECT_EQ(street.ledger(ranks)["ranks"][0]["used_blocks"], 0);
  EXPECT_GT(street.ledger(ranks)["ranks"][1]["used_blocks"], 0);
  EXPECT_EQ(first->json()["kv_transfer_params"]["remote_engine_id"],
            ranks.options().engine_id + "_dp1");
  const auto second = street.post(decode, "/v1/completions", decode_leg(body, first->json()));
  EXPECT_EQ(second->status, 200U) << second->body;
  const auto wrong = street.post(ranks, "/v1/completions", body, {{"x-data-parallel-rank", "2"}});
  EXPECT_THAT(wrong->error_message(), HasSubstr("data_parallel_rank 2 is out of range [0, 2)"));
  EXPECT_EQ(street.post(ranks, "/v1/completions", body, {{"x-data-parallel-rank", "x"}})->status,
            200U);
}

}  // namespace
}  // namespace baton::adapters::mock::testing
