// vLLM's MooncakeConnector, as 0.32.0 has it (mooncake/mooncake_connector.py, mooncake_utils.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using ::testing::HasSubstr;

constexpr auto kShort = std::chrono::milliseconds(200);
constexpr auto kLong = std::chrono::seconds(60);

MockOptions mooncake(Role role) {
  MockOptions options;
  options.engine = "vllm-mooncake";
  options.role = role;
  options.lease = kLong;
  options.waiting_timeout = kLong;
  return options;
}

MockOptions impatient(Role role) {
  MockOptions options = mooncake(role);
  options.lease = kShort;
  options.waiting_timeout = 2 * kShort;
  return options;
}

class Mooncake : public ::testing::Test {
 protected:
  static Json prefill_body(Json body, const std::string& transfer = "xfer-1") {
    body["max_tokens"] = 1;
    body["ignore_eos"] = true;
    body["kv_transfer_params"] = {
        {"do_remote_decode", true}, {"do_remote_prefill", false}, {"transfer_id", transfer}};
    return body;
  }
  static std::string bootstrap_of(const MockPod& pod) {
    const MockOptions& options = pod.options();
    return "http://" + options.side_channel_host + ":" + std::to_string(options.side_channel_port);
  }
  static Json decode_body(const MockPod& source, Json body,
                          const std::string& transfer = "xfer-1") {
    body["kv_transfer_params"] = {{"do_remote_decode", false},
                                  {"do_remote_prefill", true},
                                  {"transfer_id", transfer},
                                  {"remote_engine_id", source.options().engine_id},
                                  {"remote_bootstrap_addr", bootstrap_of(source)}};
    return body;
  }
  std::shared_ptr<Call> begin(const MockPod& pod, const Json& body, http::Fields fields = {}) {
    fields.emplace_back("content-type", "application/json");
    return street.begin(pod, "POST", "/v1/completions", dump(body), std::move(fields));
  }
  bool end(const std::shared_ptr<Call>& call) {
    return street.run_until([&] { return call->ended; });
  }
  std::shared_ptr<Call> post(const MockPod& pod, const Json& body) {
    return street.post(pod, "/v1/completions", body);
  }
  bool wait_for(const MockPod& pod, const char* figure, std::int64_t value) {
    return street.run_until([&] { return street.ledger(pod)[figure] == value; });
  }
  Json violations(const MockPod& pod) { return street.ledger(pod)["violations"]; }
  std::string alone() { return post(single, asked)->json()["choices"][0]["text"]; }
  void expect_nothing_left(const MockPod& source, const MockPod& reader) {
    EXPECT_TRUE(wait_for(reader, "waiting_for_kv", 0));
    for (const MockPod* pod : {&source, &reader}) {
      const Json ledger = street.ledger(*pod);
      EXPECT_EQ(ledger["pinned_blocks"], 0);
      EXPECT_EQ(ledger["asked_for"], 0);
      EXPECT_EQ(ledger["ranks"][0]["used_blocks"], 0);
    }
  }

  Street street;
  MockPod& prefill = street.add(mooncake(Role::kPrefill));
  MockPod& decode = street.add(mooncake(Role::kDecode));
  MockPod& single = street.add(mooncake(Role::kBoth));
  Json asked = completion(kPrompt, 12);
};

TEST_F(Mooncake, WhicheverLegComesFirstTheAnswerIsThatOfOneServer) {
  for (const bool prefill_first : {true, false}) {
    const std::string id = prefill_first ? "one" : "two";
    std::shared_ptr<Call> first;
    std::shared_ptr<Call> second;
    if (prefill_first) {
      first = begin(prefill, prefill_body(asked, id));
      ASSERT_TRUE(end(first));
      EXPECT_GT(street.ledger(prefill)["pinned_blocks"], 0);
      second = begin(decode, decode_body(prefill, asked, id));
    } else {
      second = begin(decode, decode_body(prefill, asked, id));
      ASSERT_TRUE(wait_for(prefill, "asked_for", 1));
      first = begin(prefill, prefill_body(asked, id));
    }
    ASSERT_TRUE(end(first) && end(second));
    EXPECT_EQ(second->status, 200U) << second->body;
    EXPECT_EQ(second->json()["choices"][0]["text"], alone());
    // mooncake_connector.py:1166: the answer says nothing of the hand-off.
    EXPECT_TRUE(first->json()["kv_transfer_params"].is_null());
  }
  expect_nothing_left(prefill, decode);
  EXPECT_EQ(violations(prefill), Json::object());
  EXPECT_EQ(violations(decode), Json::object());
}

// mooncake/stats.py:15.
TEST_F(Mooncake, MetricsTellNothingOfTransfers) {
  EXPECT_THAT(street.get(prefill, "/metrics")->body, ::testing::Not(HasSubstr("vllm:nixl_")));
}

// mooncake_connector.py:1150: no blocks are kept of a request that ended by itself.
TEST_F(Mooncake, APrefillThatStopsKeepsNothingAndTheDecodeLegWaitsInVain) {
  MockPod& source = street.add(impatient(Role::kPrefill));
  Json told = asked;
  told["return_token_ids"] = true;
  const Json first = post(single, told)->json()["choices"][0]["token_ids"][0];
  Json stops = prefill_body(asked);
  stops["stop_token_ids"] = Json::array({first});
  EXPECT_EQ(post(source, stops)->json()["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(street.ledger(source)["pinned_blocks"], 0);
  EXPECT_EQ(violations(source), (Json{{"prefill_stopped", 1}}));
  EXPECT_EQ(post(decode, decode_body(source, asked))->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"not_met", 1}}));
  expect_nothing_left(source, decode);
}

// mooncake_connector.py:1823: the last blocks are sent, as many as the decode server wants.
TEST_F(Mooncake, APrefillThatMakesBlocksOfItsOwnSendsTheWrongOnes) {
  Json longer = prefill_body(asked);
  longer["max_tokens"] = 40;
  EXPECT_EQ(post(prefill, longer)->status, 200U);
  EXPECT_EQ(violations(prefill), (Json{{"prefill_not_capped", 1}}));
  const auto second = post(decode, decode_body(prefill, asked));
  EXPECT_EQ(second->status, 200U);
  EXPECT_NE(second->json()["choices"][0]["text"], alone());
}

TEST_F(Mooncake, BlocksHaveOneReader) {
  MockPod& source = street.add(impatient(Role::kPrefill));
  EXPECT_EQ(post(source, prefill_body(asked))->status, 200U);
  EXPECT_EQ(post(decode, decode_body(source, asked))->status, 200U);
  EXPECT_EQ(post(decode, decode_body(source, asked))->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"second_reader", 1}}));
}

TEST_F(Mooncake, OfTwoDecodeLegsThatWaitOneIsServed) {
  MockPod& source = street.add(impatient(Role::kPrefill));
  const auto one = begin(decode, decode_body(source, asked));
  const auto two = begin(decode, decode_body(source, asked));
  ASSERT_TRUE(wait_for(source, "asked_for", 2));
  EXPECT_EQ(post(source, prefill_body(asked))->status, 200U);
  ASSERT_TRUE(end(one) && end(two));
  EXPECT_EQ(one->status + two->status, 700U);
  EXPECT_EQ(violations(decode), (Json{{"second_reader", 1}}));
}

// mooncake_connector.py:2565: the blocks of the first are forgotten, and never freed.
TEST_F(Mooncake, ATransferThatIsUsedAgainLosesBlocks) {
  EXPECT_EQ(post(prefill, prefill_body(asked))->status, 200U);
  EXPECT_EQ(post(prefill, prefill_body(asked))->status, 200U);
  EXPECT_EQ(violations(prefill), (Json{{"transfer_used_again", 1}}));
  EXPECT_EQ(post(decode, decode_body(prefill, asked))->status, 200U);
  EXPECT_GT(street.ledger(prefill)["pinned_blocks"], 0);
}

TEST_F(Mooncake, OfAnotherPromptNothingIsTaken) {
  EXPECT_EQ(post(prefill, prefill_body(completion("Of the land.")))->status, 200U);
  EXPECT_EQ(post(decode, decode_body(prefill, asked))->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"tokens_differ", 1}}));
}

TEST_F(Mooncake, AFailedLoadIsRecomputedWhereThePolicySaysSo) {
  MockOptions recompute = mooncake(Role::kDecode);
  recompute.recompute_failed_loads = true;
  MockPod& lenient = street.add(recompute);
  EXPECT_EQ(post(prefill, prefill_body(completion("Of the land.")))->status, 200U);
  const auto call = post(lenient, decode_body(prefill, asked));
  EXPECT_EQ(call->status, 200U);
  EXPECT_EQ(call->json()["choices"][0]["text"], alone());
  EXPECT_EQ(violations(lenient), (Json{{"tokens_differ", 1}}));
}

// mooncake_connector.py:2539.
TEST_F(Mooncake, AnEngineThatTheBootstrapServerDoesNotListFailsAtOnce) {
  Json wrong = decode_body(prefill, asked);
  wrong["kv_transfer_params"]["remote_engine_id"] = "another";
  EXPECT_EQ(post(decode, wrong)->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"wrong_engine_id", 1}}));
}

// mooncake_connector.py:2443: tried three times, which breaks no rule.
TEST_F(Mooncake, ABootstrapServerThatIsNotThereFailsTheLeg) {
  prefill.stop();
  EXPECT_EQ(post(decode, decode_body(prefill, asked))->status, 500U);
  EXPECT_EQ(violations(decode), Json::object());
}

TEST_F(Mooncake, TheBootstrapAddressIsAUrl) {
  Json wrong = decode_body(prefill, asked);
  wrong["kv_transfer_params"]["remote_bootstrap_addr"] =
      bootstrap_of(prefill).substr(std::string("http://").size());
  EXPECT_EQ(post(decode, wrong)->status, 500U);
}

// mooncake_connector.py:2554: a decode server asks nobody for an engine that it knows, and its
// question to a worker that is gone ends with its own timeout (:2349).
TEST_F(Mooncake, TheEngineOfAnEarlierStartIsWaitedFor) {
  MockPod& reader = street.add(impatient(Role::kDecode));
  EXPECT_EQ(post(prefill, prefill_body(asked))->status, 200U);
  EXPECT_EQ(post(reader, decode_body(prefill, asked))->status, 200U);
  prefill.stop();
  MockOptions again = mooncake(Role::kPrefill);
  again.side_channel_port = prefill.options().side_channel_port;
  again.engine_id = "the-next";
  MockPod& next = street.add(again);
  EXPECT_EQ(post(next, prefill_body(asked, "xfer-2"))->status, 200U);
  EXPECT_EQ(post(reader, decode_body(prefill, asked, "xfer-2"))->status, 500U);
  EXPECT_EQ(violations(reader), (Json{{"wrong_engine_id", 1}}));
  EXPECT_EQ(post(reader, decode_body(next, asked, "xfer-2"))->status, 200U);
}

// mooncake_connector.py:2219.
TEST_F(Mooncake, BlocksAreFreedWhenNobodyComes) {
  MockPod& source = street.add(impatient(Role::kPrefill));
  EXPECT_EQ(post(source, prefill_body(asked))->status, 200U);
  EXPECT_TRUE(wait_for(source, "pinned_blocks", 0));
  EXPECT_EQ(post(decode, decode_body(source, asked))->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"lease_expired", 1}}));
}

// mooncake_connector.py:1066: the request waits, for nobody fetches.
TEST_F(Mooncake, ADecodeLegWithoutAllKeysWaitsUntilItsClientLeaves) {
  Json wrong = decode_body(prefill, asked);
  wrong["kv_transfer_params"].erase("remote_bootstrap_addr");
  const auto call = begin(decode, wrong);
  ASSERT_TRUE(street.run_until([&] { return violations(decode) == Json{{"missing_keys", 1}}; }));
  EXPECT_FALSE(call->ended);
  EXPECT_EQ(street.get(decode, "/health")->status, 200U);
}

// mooncake_connector.py:1133 and :689: where such a request is refused, a KeyError ends the engine.
TEST_F(Mooncake, ARefusedDecodeLegWithoutAllKeysEndsTheEngine) {
  Json wrong = decode_body(prefill, asked);
  wrong["model"] = "unknown";
  wrong["kv_transfer_params"].erase("remote_bootstrap_addr");
  EXPECT_EQ(post(decode, wrong)->status, 404U);
  EXPECT_EQ(street.get(decode, "/health")->status, 503U);
}

// mooncake_connector.py:1133: and with all of them the prefill server's blocks are freed.
TEST_F(Mooncake, ARefusedDecodeLegFreesTheBlocks) {
  EXPECT_EQ(post(prefill, prefill_body(asked))->status, 200U);
  Json wrong = decode_body(prefill, asked);
  wrong["model"] = "unknown";
  EXPECT_EQ(post(decode, wrong)->status, 404U);
  EXPECT_TRUE(wait_for(prefill, "pinned_blocks", 0));
  expect_nothing_left(prefill, decode);
  EXPECT_EQ(violations(decode), Json::object());
}

// mooncake_connector.py:1076.
TEST_F(Mooncake, APrefillLegWithoutATransferKeepsNothing) {
  Json wrong = prefill_body(asked);
  wrong["kv_transfer_params"].erase("transfer_id");
  EXPECT_EQ(post(prefill, wrong)->status, 200U);
  EXPECT_EQ(street.ledger(prefill)["pinned_blocks"], 0);
  EXPECT_EQ(violations(prefill), (Json{{"missing_keys", 1}}));
}

// mooncake_connector.py:1022 and :1075: assertions.
TEST_F(Mooncake, ALegAtAPodOfTheOtherRoleEndsItsEngine) {
  EXPECT_EQ(post(prefill, decode_body(single, asked))->status, 500U);
  EXPECT_EQ(post(decode, prefill_body(asked))->status, 500U);
  for (const MockPod* pod : {&prefill, &decode}) {
    EXPECT_EQ(violations(*pod), (Json{{"wrong_role", 1}}));
    EXPECT_EQ(street.get(*pod, "/health")->status, 503U);
  }
}

// v1/core/sched/scheduler.py:2702: the blocks may yet be written to.
TEST_F(Mooncake, WhatAClientThatLeftWaitedForStillComes) {
  const auto second = begin(decode, decode_body(prefill, asked));
  ASSERT_TRUE(wait_for(prefill, "asked_for", 1));
  second->leave.emit(http::asio::cancellation_type::terminal);
  ASSERT_TRUE(wait_for(decode, "open_requests", 0));
  EXPECT_GT(street.ledger(decode)["ranks"][0]["used_blocks"], 0);
  EXPECT_EQ(post(prefill, prefill_body(asked))->status, 200U);
  expect_nothing_left(prefill, decode);
}

// mooncake_connector.py:1607: the other half left, and nobody tells.
TEST_F(Mooncake, WhereBothClientsLeaveTheDecodeServersBlocksStayForTheTimeout) {
  MockOptions slow = impatient(Role::kPrefill);
  slow.model_options.timing = *engine_model::parse_latency_profile("prefill_ms=60000");
  MockPod& source = street.add(slow);
  const auto second = begin(decode, decode_body(source, asked));
  const auto first = begin(source, prefill_body(asked));
  ASSERT_TRUE(wait_for(source, "open_requests", 1));
  for (const auto& call : {first, second}) {
    call->leave.emit(http::asio::cancellation_type::terminal);
  }
  ASSERT_TRUE(wait_for(decode, "open_requests", 0));
  expect_nothing_left(source, decode);
  EXPECT_EQ(violations(decode), Json::object());
}

TEST_F(Mooncake, ADecodeLegThatIsToldAnotherRankWaitsInVain) {
  MockOptions ranks = impatient(Role::kPrefill);
  ranks.data_parallel_size = 2;
  MockPod& source = street.add(ranks);
  const std::string engine = source.options().engine_id;
  const auto first = begin(source, prefill_body(asked), {{"x-data-parallel-rank", "1"}});
  ASSERT_TRUE(end(first));
  Json body = decode_body(source, asked);
  body["kv_transfer_params"]["remote_engine_id"] = engine + "_dp0";
  EXPECT_EQ(post(decode, body)->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"wrong_rank", 1}}));
  const auto again = begin(source, prefill_body(asked, "xfer-2"), {{"x-data-parallel-rank", "1"}});
  ASSERT_TRUE(end(again));
  body = decode_body(source, asked, "xfer-2");
  body["kv_transfer_params"]["remote_engine_id"] = engine + "_dp1";
  EXPECT_EQ(post(decode, body)->status, 200U);
}

TEST_F(Mooncake, FaultsOfTheHandOff) {
  MockPod& source = street.add(impatient(Role::kPrefill));
  int number = 0;
  const auto with = [&](const char* fault) {
    const std::string id = std::to_string(++number);
    street.set_faults(source, fault);
    EXPECT_EQ(post(source, prefill_body(asked, id))->status, 200U);
    return post(decode, decode_body(source, asked, id));
  };
  EXPECT_NE(with("wrong_kv:1")->json()["choices"][0]["text"], alone());
  EXPECT_EQ(with("version_mismatch:1")->status, 500U);
  EXPECT_EQ(with("absent_params:1")->status, 500U);
  EXPECT_EQ(violations(decode), (Json{{"not_met", 1}, {"version_mismatch", 1}}));
}

// The bootstrap server

class Bootstrap : public Mooncake {
 protected:
  // The side channel's answer: the harness reaches ports of pods alone.
  Json query(const MockPod& pod, unsigned status = 200) {
    return side(pod, "GET", "/query", "", status);
  }
  Json side(const MockPod& pod, const std::string& method, const std::string& target,
            const std::string& body, unsigned status) {
    const auto call = street.begin_at(pod.options().side_channel_port, method, target, body);
    EXPECT_TRUE(end(call));
    EXPECT_EQ(call->status, status) << call->body;
    return call->json();
  }
  std::string worker_of(const MockPod& pod) {
    return "tcp://127.0.0.1:" + std::to_string(pod.options().side_channel_port);
  }
};

TEST_F(Bootstrap, ListsTheEngineOfEachRank) {
  const Json one = {{"engine_id", prefill.options().engine_id},
                    {"worker_addr", {{"0", {{"0", worker_of(prefill)}}}}}};
  EXPECT_EQ(query(prefill), (Json{{"0", one}}));
  MockOptions ranks = mooncake(Role::kPrefill);
  ranks.data_parallel_size = 2;
  ranks.engine_id = "e";
  const Json two = query(street.add(ranks));
  EXPECT_EQ(two["0"]["engine_id"], "e_dp0");
  EXPECT_EQ(two["1"]["engine_id"], "e_dp1");
}

// Workers register once the model is loaded, and consumers have no bootstrap server.
TEST_F(Bootstrap, ListsNothingBeforeTheStartIsOverAndIsNotAtConsumers) {
  MockOptions slow = mooncake(Role::kPrefill);
  slow.slow_start = kLong;
  EXPECT_EQ(query(street.add(slow)), Json::object());
  (void)query(decode, 404);
}

// mooncake_utils.py:127.
TEST_F(Bootstrap, TakesOneAddressOfEachWorker) {
  Json worker = {{"engine_id", prefill.options().engine_id},
                 {"dp_rank", 0},
                 {"tp_rank", 1},
                 {"pp_rank", 0},
                 {"addr", "tcp://10.0.0.7:1"}};
  const auto add = [&](unsigned status) {
    return side(prefill, "POST", "/register", dump(worker), status);
  };
  EXPECT_EQ(add(200), (Json{{"status", "ok"}}));
  EXPECT_EQ(add(200), (Json{{"status", "ok"}}));
  EXPECT_EQ(query(prefill)["0"]["worker_addr"]["1"], (Json{{"0", "tcp://10.0.0.7:1"}}));
  worker["addr"] = "tcp://10.0.0.7:2";
  EXPECT_EQ(add(400)["detail"],
            "Worker with dp_rank=0, tp_rank=1, pp_rank=0 is already registered at "
            "tcp://10.0.0.7:1, but still want to register at tcp://10.0.0.7:2");
  worker["engine_id"] = "e";
  EXPECT_EQ(add(400)["detail"], "Engine ID mismatch for dp_rank=0: expected " +
                                    prefill.options().engine_id + ", got e");
  worker.erase("addr");
  worker["tp_rank"] = "x";
  const Json wrong = add(422)["detail"];
  ASSERT_EQ(wrong.size(), 2U);
  EXPECT_EQ(wrong[0]["loc"], (Json{"body", "tp_rank"}));
  EXPECT_EQ(wrong[1]["msg"], "Field required");
  EXPECT_EQ(side(prefill, "GET", "/register", "", 405)["detail"], "Method Not Allowed");
  EXPECT_EQ(side(prefill, "GET", "//query", "", 404)["detail"], "Not Found");
}

}  // namespace
}  // namespace baton::adapters::mock::testing
