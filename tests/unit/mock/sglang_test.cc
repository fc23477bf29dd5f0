// SGLang's prefill and decode servers as of d315eb7 (python/sglang/srt/disaggregation and
// entrypoints): both legs at once, in one room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::int64_t kRoom = 9007199254740993;  // 2^53 + 1: no double holds it

MockOptions sglang(Role role) {
  MockOptions options;
  options.engine = "sglang";
  options.role = role;
  options.prompt_tokens_details = true;
  return options;
}

class Sglang : public ::testing::Test {
 protected:
  Json in_room(Json body, const Json& room = kRoom, const MockPod* at = nullptr) {
    const MockOptions& options = (at == nullptr ? prefill : *at).options();
    body["bootstrap_host"] = options.side_channel_host;
    body["bootstrap_port"] = options.side_channel_port;
    body["bootstrap_room"] = room;
    return body;
  }
  std::shared_ptr<Call> begin(const MockPod& pod, const std::string& target, const Json& body) {
    return street.begin(pod, "POST", target, dump(body), {{"content-type", "application/json"}});
  }
  // The answers of both legs.
  std::pair<std::shared_ptr<Call>, std::shared_ptr<Call>> both(const Json& body,
                                                               const std::string& target) {
    auto first = begin(prefill, target, body);
    auto second = begin(decode, target, body);
    EXPECT_TRUE(street.run_until([&] { return first->ended && second->ended; }));
    return {first, second};
  }
  bool wait_for(const MockPod& pod, const char* figure, std::int64_t value) {
    return street.run_until([&] { return street.ledger(pod)[figure] == value; });
  }
  void expect_clean() {
    for (const MockPod* pod : {&prefill, &decode}) {
      EXPECT_TRUE(wait_for(*pod, "open_requests", 0));
      const Json ledger = street.ledger(*pod);
      EXPECT_EQ(ledger["violations"], Json::object());
      for (const char* figure :
           {"pinned_blocks", "bootstrapping", "rooms_asked_for", "waiting_for_kv"}) {
        EXPECT_EQ(ledger[figure], 0) << figure;
      }
      EXPECT_EQ(ledger["ranks"][0]["used_blocks"], 0);
    }
  }
  Json violations(const MockPod& pod) { return street.ledger(pod)["violations"]; }

  Street street;
  MockPod& prefill = street.add(sglang(Role::kPrefill));
  MockPod& decode = street.add(sglang(Role::kDecode));
  MockPod& single = street.add(sglang(Role::kBoth));
};

TEST_F(Sglang, ASplitAnswerIsThatOfOneServer) {
  const Json body = completion(kPrompt, 20);
  const auto [first, second] = both(in_room(body), "/v1/completions");
  ASSERT_EQ(first->status, 200U) << first->body;
  ASSERT_EQ(second->status, 200U) << second->body;
  const auto alone = street.post(single, "/v1/completions", body);
  EXPECT_EQ(second->json()["choices"], alone->json()["choices"]);
  EXPECT_EQ(second->json()["usage"]["completion_tokens"], 20);
  // disaggregation/prefill.py:373: one token, whatever max_tokens was.
  EXPECT_EQ(first->json()["usage"]["completion_tokens"], 1);
  expect_clean();
}

TEST_F(Sglang, AStreamedAnswerIsThatOfOneServer) {
  Json body = completion(kPrompt, 6);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto [first, second] = both(in_room(body), "/v1/completions");
  const auto alone = street.post(single, "/v1/completions", body);
  const auto text = [](const Call& call) {
    std::string all;
    for (const Json& event : call.events()) {
      if (event.is_object() && !event["choices"].empty()) {
        all += event["choices"][0]["text"].get<std::string>();
      }
    }
    return all;
  };
  EXPECT_EQ(text(*second), text(*alone));
  EXPECT_EQ(second->events().back(), "[DONE]");
  EXPECT_EQ(second->events()[6]["usage"]["completion_tokens"], 6);
  EXPECT_EQ(first->events().front()["choices"][0]["text"],
            second->events().front()["choices"][0]["text"]);
  expect_clean();
}

TEST_F(Sglang, AChatStreamHasTheRoleFirstAndTheReasonLast) {
  Json body = {{"model", "mock-model"}, {"max_tokens", 3}, {"temperature", 0}, {"stream", true}};
  body["messages"] = {{{"role", "user"}, {"content", kPrompt}}};
  const auto call = street.post(single, "/v1/chat/completions", body);
  const auto events = call->events();
  ASSERT_EQ(events.size(), 6U);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[1]["choices"][0]["finish_reason"], nullptr);
  EXPECT_EQ(events[4]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[5], "[DONE]");
}

// disaggregation/decode.py:2124: what the prefill server had cached, not what was fetched.
TEST_F(Sglang, CachedTokensAreThoseOfThePrefillServer) {
  const Json body = completion(kPrompt + kPrompt, 4);
  (void)both(in_room(body, 1), "/v1/completions");
  const auto [first, second] = both(in_room(body, 2), "/v1/completions");
  const Json cached = first->json()["usage"]["prompt_tokens_details"]["cached_tokens"];
  EXPECT_GT(cached, 0);
  EXPECT_EQ(second->json()["usage"]["prompt_tokens_details"]["cached_tokens"], cached);
}

// managers/io_struct.py:723: a scalar room is the first of a batch's; a list has one for each.
TEST_F(Sglang, BatchesMeetInARoomEach) {
  Json body = completion("", 5);
  body["prompt"] = {kPrompt, "Another one of the land."};
  const auto alone = street.post(single, "/v1/completions", body);
  for (const Json& room : {Json(100), Json{300, 200}}) {
    const auto [first, second] = both(in_room(body, room), "/v1/completions");
    EXPECT_EQ(first->json()["choices"].size(), 2U);
    EXPECT_EQ(second->json()["choices"], alone->json()["choices"]);
  }
  expect_clean();
}

TEST_F(Sglang, ThePrefillServerWaitsForTheDecodeServer) {
  const Json body = in_room(completion(kPrompt));
  const auto first = begin(prefill, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "bootstrapping", 1));
  EXPECT_EQ(first->status, 0U);
  EXPECT_EQ(street.metric(prefill,
                          "sglang:num_prefill_bootstrap_queue_reqs{model_name=\"mock-model\","
                          "engine_type=\"prefill\",tp_rank=\"0\",pp_rank=\"0\",moe_ep_rank=\"0\"}"),
            1);
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(street.run_until([&] { return first->ended && second->ended; }));
  EXPECT_EQ(second->status, 200U);
}

TEST_F(Sglang, TheDecodeServerWaitsForThePrefillServer) {
  const Json body = in_room(completion(kPrompt));
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "rooms_asked_for", 1));
  const auto first = begin(prefill, "/v1/completions", body);
  ASSERT_TRUE(street.run_until([&] { return first->ended && second->ended; }));
  EXPECT_EQ(second->status, 200U);
  expect_clean();
}

// disaggregation/common/conn.py:1203 and prefill.py:1043.
TEST_F(Sglang, APrefillServerThatIsNotAskedTimesOut) {
  MockOptions options = sglang(Role::kPrefill);
  options.bootstrap_timeout = milliseconds(20);
  const MockPod& hasty = street.add(std::move(options));
  const auto call =
      street.post(hasty, "/v1/completions", in_room(completion(kPrompt), kRoom, &hasty));
  EXPECT_EQ(call->status, 500U);
  EXPECT_EQ(call->json()["type"], "500");
  EXPECT_THAT(
      call->json()["message"].get<std::string>(),
      ::testing::MatchesRegex("Prefill bootstrap failed for request rank=0 req.rid='[0-9a-f]+' "
                              "req.bootstrap_room=9007199254740993 with exception "
                              "KVTransferError\\(bootstrap_room=9007199254740993\\): Request "
                              "9007199254740993 timed out after 0.0s in KVPoll.Bootstrapping"));
  EXPECT_EQ(violations(hasty)["not_met"], 1);
}

// disaggregation/common/conn.py:1456 and decode.py:2016; a stream has its head by then
// (serving_completions.py:376).
TEST_F(Sglang, ADecodeServerWithoutKvTimesOut) {
  MockOptions options = sglang(Role::kDecode);
  options.waiting_timeout = milliseconds(20);
  const MockPod& hasty = street.add(std::move(options));
  Json body = in_room(completion(kPrompt));
  const auto call = street.post(hasty, "/v1/completions", body);
  EXPECT_EQ(call->status, 500U);
  EXPECT_THAT(call->body, HasSubstr("Decode transfer failed for request rank=0"));
  EXPECT_THAT(call->body, HasSubstr("in KVPoll.WaitingForInput"));
  body["stream"] = true;
  const auto stream = street.post(hasty, "/v1/completions", body);
  EXPECT_EQ(stream->status, 200U);
  ASSERT_EQ(stream->events().size(), 2U);
  EXPECT_EQ(stream->events()[0]["error"]["type"], "INTERNAL_SERVER_ERROR");
  EXPECT_EQ(stream->events()[0]["error"]["code"], 500);
  // It has told the prefill server, which waits for nobody now.
  EXPECT_TRUE(wait_for(prefill, "rooms_asked_for", 0));
}

// mooncake/conn.py:1884: a decode server that gives up frees the prefill server.
TEST_F(Sglang, AClientThatLeavesTheDecodeServerFreesBoth) {
  MockOptions options = sglang(Role::kPrefill);
  options.model_options.timing.prefill_base_s = 5;
  const MockPod& slow = street.add(std::move(options));
  const Json body = in_room(completion(kPrompt), kRoom, &slow);
  const auto first = begin(slow, "/v1/completions", body);
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(wait_for(slow, "rooms_asked_for", 1));
  second->leave.emit(http::asio::cancellation_type::terminal);
  ASSERT_TRUE(street.run_until([&] { return first->ended; }));
  EXPECT_EQ(first->status, 500U);
  EXPECT_THAT(first->body, HasSubstr("Failed due to an unknown reason from another rank"));
  EXPECT_TRUE(wait_for(decode, "waiting_for_kv", 0));
  EXPECT_EQ(street.requests(decode)[0]["outcome"], "left");
  EXPECT_EQ(street.ledger(slow)["ranks"][0]["used_blocks"], 0);
  expect_clean();
}

// sglang 9726: nobody tells a decode server that the prefill leg has gone.
TEST_F(Sglang, AClientThatLeavesThePrefillServerLeavesTheDecodeServerWaiting) {
  const Json body = in_room(completion(kPrompt));
  const auto first = begin(prefill, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "bootstrapping", 1));
  first->leave.emit(http::asio::cancellation_type::terminal);
  ASSERT_TRUE(wait_for(prefill, "bootstrapping", 0));
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "rooms_asked_for", 1));
  EXPECT_FALSE(second->ended);
  second->leave.emit(http::asio::cancellation_type::terminal);
  ASSERT_TRUE(wait_for(prefill, "rooms_asked_for", 0));
  expect_clean();
}

TEST_F(Sglang, APrefillServerThatDiesEndsTheDecodeLegAtOnce) {
  const Json body = in_room(completion(kPrompt));
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "rooms_asked_for", 1));
  prefill.stop();
  ASSERT_TRUE(street.run_until([&] { return second->ended; }));
  EXPECT_EQ(second->status, 500U);
  EXPECT_THAT(second->body, HasSubstr("Lost connection with prefill instance"));
  const auto next = street.post(decode, "/v1/completions", in_room(completion(kPrompt), 7));
  EXPECT_THAT(next->body, HasSubstr("Decode handshake failed"));
}

// managers/scheduler.py:2374.
TEST_F(Sglang, ALegWithoutARoomIsRefused) {
  for (const MockPod* pod : {&prefill, &decode}) {
    Json body = completion(kPrompt);
    const auto call = street.post(*pod, "/v1/completions", body);
    EXPECT_EQ(call->status, 400U);
    EXPECT_EQ(call->json()["type"], "BadRequestError");
    EXPECT_THAT(call->json()["message"].get<std::string>(),
                HasSubstr("Disaggregated request received without bootstrap room id. req.rid='"));
    body["stream"] = true;
    const auto stream = street.post(*pod, "/v1/completions", body);
    EXPECT_EQ(stream->status, 200U);
    EXPECT_EQ(stream->events()[0]["error"]["type"], "BAD_REQUEST");
    EXPECT_EQ(violations(*pod)["no_room"], 2);
  }
}

TEST_F(Sglang, OtherPromptsInOneRoomFail) {
  const auto first = begin(prefill, "/v1/completions", in_room(completion(kPrompt)));
  const auto second =
      begin(decode, "/v1/completions", in_room(completion("Of the land, then, and of trees.")));
  ASSERT_TRUE(street.run_until([&] { return first->ended && second->ended; }));
  EXPECT_EQ(first->status, 500U);
  EXPECT_EQ(second->status, 500U);
  EXPECT_EQ(violations(decode)["prompts_differ"], 1);
}

TEST_F(Sglang, ADoubledRoomFails) {
  const Json body = in_room(completion(kPrompt));
  const auto first = begin(prefill, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "bootstrapping", 1));
  const auto again = street.post(prefill, "/v1/completions", body);
  EXPECT_EQ(again->status, 500U);
  EXPECT_EQ(violations(prefill)["doubled_room"], 1);
  const auto second = street.post(decode, "/v1/completions", body);
  EXPECT_EQ(second->status, 200U);
  ASSERT_TRUE(street.run_until([&] { return first->ended; }));
  EXPECT_EQ(first->status, 200U);
}

TEST_F(Sglang, WhatIsWrongWithRoomsIsCounted) {
  Json body = in_room(completion(kPrompt), 9007199254740993.0);
  body["bootstrap_port"] = 1;
  const auto first = begin(prefill, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "bootstrapping", 1));
  EXPECT_EQ(violations(prefill), (Json{{"room_is_no_int64", 1}, {"wrong_bootstrap_port", 1}}));
  first->leave.emit(http::asio::cancellation_type::terminal);
  (void)street.post(single, "/v1/completions", in_room(completion(kPrompt)));
  EXPECT_EQ(violations(single)["room_at_plain_server"], 1);
}

// http_server.py:685: health probes meet nobody.
TEST_F(Sglang, ThePlaceOfHealthProbesNeedsNoOtherHalf) {
  Json body = completion(kPrompt, 1);
  body["bootstrap_host"] = "2.2.2.2";
  body["bootstrap_room"] = 0;
  EXPECT_EQ(street.post(prefill, "/v1/completions", body)->status, 200U);
  EXPECT_EQ(street.post(decode, "/v1/completions", body)->status, 200U);
  EXPECT_EQ(street.get(decode, "/health")->status, 200U);
  expect_clean();
}

TEST_F(Sglang, WrongKvChangesTheAnswer) {
  street.set_faults(prefill, "wrong_kv:1");
  const Json body = completion(kPrompt, 12);
  const auto [first, second] = both(in_room(body), "/v1/completions");
  EXPECT_EQ(second->status, 200U);
  EXPECT_NE(second->json()["choices"][0]["text"],
            street.post(single, "/v1/completions", body)->json()["choices"][0]["text"]);
}

// http_server.py:1587.
TEST_F(Sglang, ARequestIsAbortedByItsId) {
  Json body = in_room(completion(kPrompt));
  body["rid"] = "abc-1";
  const auto second = begin(decode, "/v1/completions", body);
  ASSERT_TRUE(wait_for(prefill, "rooms_asked_for", 1));
  EXPECT_EQ(street.post(decode, "/abort_request", {{"rid", "abc"}})->status, 200U);
  ASSERT_TRUE(street.run_until([&] { return second->ended; }));
  EXPECT_EQ(second->status, 500U);
  EXPECT_TRUE(wait_for(prefill, "rooms_asked_for", 0));
}

// entrypoints/openai/protocol.py, sampling/sampling_params.py:151, tokenizer_manager.py:1140.
TEST_F(Sglang, WrongRequestsAreRefusedInItsForm) {
  const auto refused = [&](const Json& change, const std::string& type, const std::string& message,
                           const std::string& target = "/v1/completions") {
    Json body = completion(kPrompt);
    body.update(change);
    const auto call = street.post(single, target, body);
    EXPECT_EQ(call->status, 400U) << change;
    const Json answer = call->json();
    EXPECT_EQ(answer["object"], "error");
    EXPECT_EQ(answer["type"], type) << change;
    EXPECT_EQ(answer["code"], 400);
    EXPECT_THAT(answer["message"].get<std::string>(), HasSubstr(message));
  };
  refused({{"max_tokens", 0}}, "Bad Request", "max_tokens must be positive");
  refused({{"max_tokens", "x"}}, "Bad Request", "Input should be a valid integer");
  refused({{"bootstrap_room", "x"}}, "Bad Request", "Input should be a valid integer");
  refused({{"prompt", ""}}, "BadRequestError", "Prompt cannot be empty");
  refused({{"temperature", -1}}, "BadRequestError",
          "temperature must be a non-negative finite number, got -1");
  refused({{"top_p", 2}}, "BadRequestError", "top_p must be in (0, 1]");
  refused({{"min_tokens", 20}}, "BadRequestError",
          "min_new_tokens must be in [0, max_new_tokens(8)], got 20.");
  refused({{"max_tokens", 9000}}, "BadRequestError",
          "Requested token count exceeds the model's maximum context length of 8192 tokens.");
  refused({{"messages", Json::array()}}, "BadRequestError", "Messages cannot be empty.",
          "/v1/chat/completions");
  refused({{"model", "mock-model:shout"}}, "BadRequestError",
          "The following requested LoRA adapters are not loaded");
  // Any model's name is served, unknown members and stream options are not minded.
  Json body = completion(kPrompt);
  body.update({{"model", "other"}, {"unknown", 1}, {"stream_options", {{"include_usage", true}}}});
  const auto call = street.post(single, "/v1/completions", body);
  EXPECT_EQ(call->json()["model"], "other");
}

TEST_F(Sglang, ItSaysWhatItIs) {
  const Json info = street.get(prefill, "/server_info")->json();
  EXPECT_EQ(info["disaggregation_mode"], "prefill");
  EXPECT_EQ(info["disaggregation_bootstrap_port"], prefill.options().side_channel_port);
  EXPECT_EQ(street.get(single, "/get_server_info")->json()["disaggregation_mode"], "null");
  EXPECT_EQ(street.get(decode, "/model_info")->json()["model_path"], "mock-model");
  EXPECT_EQ(street.get(decode, "/v1/models")->json()["data"][0]["owned_by"], "sglang");
  EXPECT_EQ(street.get(decode, "/v1/loads")->json()["loads"][0]["num_running_reqs"], 0);
  EXPECT_EQ(street.call(decode, "POST", "/flush_cache")->status, 200U);
  EXPECT_EQ(street.get(decode, "/nowhere")->json()["type"], "404");
}

}  // namespace
}  // namespace baton::adapters::mock::testing
