// The HTTP surface of vLLM 0.32.0's dress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using ::testing::HasSubstr;

Json chat(const std::string& text, int max_tokens = 6) {
  return {{"model", "mock-model"},
          {"messages", Json::array({{{"role", "user"}, {"content", text}}})},
          {"max_tokens", max_tokens},
          {"temperature", 0}};
}

class Vllm : public ::testing::Test {
 protected:
  std::shared_ptr<Call> complete(const Json& body) {
    return street.post(pod, "/v1/completions", body);
  }
  std::shared_ptr<Call> ask(const Json& body) {
    return street.post(pod, "/v1/chat/completions", body);
  }
  Street street;
  MockPod& pod = street.add({});
};

// chat_completion/serving.py:510: the role first, an empty text with it.
TEST_F(Vllm, AChatStreamIsRoleThenPiecesThenFinishThenUsage) {
  Json body = chat("Hello.", 4);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto events = ask(body)->events();
  ASSERT_EQ(events.size(), 1U + 4U + 1U + 1U);
  EXPECT_EQ(events[0]["choices"][0]["delta"], Json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_FALSE(events[0].contains("usage"));
  std::string text;
  for (std::size_t i = 1; i <= 4; ++i) text += events[i]["choices"][0]["delta"]["content"];
  EXPECT_TRUE(events[3]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(events[4]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[5]["choices"], Json::array());
  EXPECT_EQ(events[5]["usage"]["completion_tokens"], 4);
  EXPECT_EQ(events[6], "[DONE]");
  body.erase("stream");
  body.erase("stream_options");
  const Json whole = ask(body)->json();
  EXPECT_EQ(whole["choices"][0]["message"]["content"], text);
  EXPECT_EQ(whole["usage"]["prompt_tokens"], events[5]["usage"]["prompt_tokens"]);
}

TEST_F(Vllm, ContinuousUsageIsInEveryChunk) {
  Json body = completion("Hello.", 3);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}, {"continuous_usage_stats", true}};
  const auto events = complete(body)->events();
  ASSERT_EQ(events.size(), 5U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(events[static_cast<std::size_t>(i)]["usage"]["completion_tokens"], i + 1);
  }
}

TEST_F(Vllm, SeveralAnswersAndPromptsAreNumberedThrough) {
  Json body = completion("one", 2);
  body["prompt"] = {"one", "two"};
  body["n"] = 2;
  body["temperature"] = 1.0;
  body["seed"] = 4;
  const Json answer = complete(body)->json();
  ASSERT_EQ(answer["choices"].size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(answer["choices"][i]["index"], i);
  EXPECT_NE(answer["choices"][0]["text"], answer["choices"][1]["text"]);
  EXPECT_EQ(complete(body)->json()["choices"], answer["choices"]) << "the same seed";
}

TEST_F(Vllm, StopStringsEndTheTextBeforeThem) {
  const std::string text = complete(completion("Hello.", 12))->json()["choices"][0]["text"];
  const std::string stop = text.substr(text.find(' ', 12), 4);
  const std::size_t at = text.find(stop);
  for (const bool stream : {false, true}) {
    Json body = completion("Hello.", 12);
    body["stop"] = {"nowhere", stop};
    body["stream"] = stream;
    const auto call = complete(body);
    std::string got;
    Json last;
    if (stream) {
      for (const Json& event : call->events()) {
        if (event.is_string()) break;
        got += event["choices"][0]["text"];
        last = event["choices"][0];
      }
    } else {
      last = call->json()["choices"][0];
      got = last["text"];
    }
    EXPECT_EQ(got, text.substr(0, at)) << stream;
    EXPECT_EQ(last["finish_reason"], "stop");
    EXPECT_EQ(last["stop_reason"], stop);
  }
}

TEST_F(Vllm, LogprobsHaveTheTokenAndTheLikeliest) {
  Json body = completion("Hello.", 3);
  body["logprobs"] = 2;
  const Json logprobs = complete(body)->json()["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), 3U);
  EXPECT_EQ(logprobs["top_logprobs"][0].size(), 2U);
  Json chatted = chat("Hello.", 3);
  chatted["logprobs"] = true;
  chatted["top_logprobs"] = 3;
  const Json content = ask(chatted)->json()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);
  EXPECT_EQ(content[0]["top_logprobs"].size(), 3U);
  EXPECT_EQ(content[0]["top_logprobs"][0]["token"], content[0]["token"]);
}

TEST_F(Vllm, EchoAndPromptLogprobsTellThePrompt) {
  Json body = completion("Hello.", 2);
  body["echo"] = true;
  body["logprobs"] = 1;
  body["prompt_logprobs"] = 1;
  const Json choice = complete(body)->json()["choices"][0];
  EXPECT_THAT(choice["text"].get<std::string>(), ::testing::StartsWith("Hello."));
  EXPECT_TRUE(choice["logprobs"]["token_logprobs"][0].is_null());
  EXPECT_TRUE(choice["prompt_logprobs"][0].is_null());
  EXPECT_EQ(choice["prompt_logprobs"][1].size(), 1U);
}

TEST_F(Vllm, AForcedToolIsCalledWithArgumentsOfItsShape) {
  Json body = chat("Weather?", 200);
  body["tools"] = Json::parse(R"([{"type":"function","function":{"name":"weather","parameters":
      {"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}}}])");
  body["tool_choice"] = "required";
  const Json choice = ask(body)->json()["choices"][0];
  const Json call = choice["message"]["tool_calls"][0]["function"];
  EXPECT_EQ(call["name"], "weather");
  const Json arguments = Json::parse(call["arguments"].get<std::string>());
  EXPECT_TRUE(arguments["city"].is_string());
  EXPECT_TRUE(arguments["days"].is_number_integer());
  EXPECT_EQ(choice["finish_reason"], "tool_calls");

  body["stream"] = true;
  std::string streamed;
  for (const Json& event : ask(body)->events()) {
    if (event.is_string()) break;
    const Json& delta = event["choices"][0]["delta"];
    if (delta.contains("tool_calls")) {
      streamed += delta["tool_calls"][0]["function"]["arguments"].get<std::string>();
    }
  }
  EXPECT_EQ(streamed, call["arguments"].get<std::string>());
}

TEST_F(Vllm, TokenizeTakesPromptsAndMessagesAndComesBack) {
  const std::string text = "The Sea, ünd \xe6\xb5\xb7 \n done";
  const Json ids =
      street.post(pod, "/tokenize", {{"prompt", text}, {"add_special_tokens", false}})->json();
  EXPECT_EQ(ids["count"], ids["tokens"].size());
  EXPECT_EQ(street.post(pod, "/detokenize", {{"tokens", ids["tokens"]}})->json()["prompt"], text);
  const Json body = chat("Hello.");
  const Json messages = street.post(pod, "/tokenize", {{"messages", body["messages"]}})->json();
  EXPECT_EQ(messages["count"], ask(body)->json()["usage"]["prompt_tokens"]);
  Json by_ids = completion("x");
  by_ids["prompt"] = ids["tokens"];
  EXPECT_EQ(complete(by_ids)->json()["usage"]["prompt_tokens"], ids["count"]);
}

TEST_F(Vllm, ReturnsTokenIdsWhereAsked) {
  Json body = completion("Hello.", 3);
  body["return_token_ids"] = true;
  const Json choice = complete(body)->json()["choices"][0];
  EXPECT_EQ(choice["token_ids"].size(), 3U);
  EXPECT_GT(choice["prompt_token_ids"].size(), 0U);
  EXPECT_EQ(street.post(pod, "/detokenize", {{"tokens", choice["token_ids"]}})->json()["prompt"],
            choice["text"]);
}

TEST_F(Vllm, AdaptersAreLoadedNamedAndUnloaded) {
  const Json load = {{"lora_name", "sql"}, {"lora_path", "/adapters/sql"}};
  EXPECT_EQ(street.post(pod, "/v1/load_lora_adapter", load)->status, 200U);
  EXPECT_EQ(street.post(pod, "/v1/load_lora_adapter", load)->status, 400U);
  const Json models = street.get(pod, "/v1/models")->json()["data"];
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[1]["id"], "sql");
  EXPECT_EQ(models[1]["parent"], "mock-model");
  EXPECT_EQ(models[0]["max_model_len"], 8192);
  Json body = completion("Hello.");
  const Json base = complete(body)->json();
  body["model"] = "sql";
  const Json adapted = complete(body)->json();
  EXPECT_EQ(adapted["model"], "sql");
  EXPECT_NE(adapted["choices"][0]["text"], base["choices"][0]["text"]);
  EXPECT_THAT(street.get(pod, "/metrics")->body,
              HasSubstr("vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"\","));
  EXPECT_EQ(street.post(pod, "/v1/unload_lora_adapter", {{"lora_name", "sql"}})->status, 200U);
  EXPECT_EQ(complete(body)->status, 404U);
}

TEST_F(Vllm, ASleepingEngineAnswersWhenItWakes) {
  EXPECT_EQ(street.call(pod, "POST", "/sleep?level=1")->status, 200U);
  EXPECT_EQ(street.get(pod, "/is_sleeping")->json()["is_sleeping"], true);
  const auto waiting = street.begin(pod, "POST", "/v1/completions", dump(completion("Hello.")),
                                    {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return pod.parts().ranks[0]->engine().live() == 1; }));
  EXPECT_EQ(street.call(pod, "POST", "/wake_up")->status, 200U);
  EXPECT_TRUE(street.run_until([&] { return waiting->ended; }));
  EXPECT_EQ(waiting->status, 200U);
}

TEST_F(Vllm, ASlowStartSaysSoUntilItIsOver) {
  MockOptions slow;
  slow.slow_start = std::chrono::milliseconds(100);
  MockPod& starting = street.add(slow);
  EXPECT_EQ(street.get(starting, "/health")->status, 503U);
  EXPECT_EQ(street.post(starting, "/v1/completions", completion("x"))->status, 503U);
  EXPECT_TRUE(street.run_until([&] { return street.get(starting, "/health")->status == 200; }));
  EXPECT_EQ(street.post(starting, "/v1/completions", completion("x"))->status, 200U);
}

TEST_F(Vllm, TheLedgerTellsWhatCame) {
  (void)street.post(pod, "/v1/completions", completion("Hello."), {{"x-request-id", "r1"}});
  const Json records = street.requests(pod);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0]["headers"]["x-request-id"], "r1");
  EXPECT_EQ(records[0]["body"]["prompt"], "Hello.");
  EXPECT_EQ(records[0]["outcome"], "answered");
  EXPECT_EQ(records[0]["id"], "cmpl-r1");
  EXPECT_EQ(street.call(pod, "DELETE", "/debug/requests")->status, 204U);
  EXPECT_EQ(street.requests(pod), Json::array());
}

TEST_F(Vllm, AnAnswerWhoseClientLeavesIsAborted) {
  MockOptions slow;
  slow.model_options.timing = *engine_model::parse_latency_profile("step_ms=20");
  MockPod& thinking = street.add(slow);
  Json body = completion("Hello.", 1000);
  body["stream"] = true;
  const auto call = street.begin(thinking, "POST", "/v1/completions", dump(body),
                                 {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return !call->body.empty(); }));
  call->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(
      street.run_until([&] { return street.ledger(thinking)["ranks"][0]["used_blocks"] == 0; }));
  EXPECT_EQ(street.requests(thinking)[0]["outcome"], "left");
}

TEST_F(Vllm, MetricsHaveTheEnginesNames) {
  (void)complete(completion("Hello."));
  const std::string text = street.get(pod, "/metrics")->body;
  for (const char* name : {"process_start_time_seconds",
                           "vllm:num_requests_running",
                           "vllm:num_requests_waiting",
                           "vllm:num_requests_waiting_by_reason",
                           "vllm:kv_cache_usage_perc",
                           "vllm:engine_sleep_state",
                           "vllm:cache_config_info",
                           "vllm:prefix_cache_queries_total",
                           "vllm:prefix_cache_hits_total",
                           "vllm:external_prefix_cache_queries_total",
                           "vllm:num_preemptions_total",
                           "vllm:prompt_tokens_total",
                           "vllm:generation_tokens_total",
                           "vllm:request_success_total",
                           "vllm:time_to_first_token_seconds_bucket",
                           "vllm:inter_token_latency_seconds_sum",
                           "vllm:e2e_request_latency_seconds_count",
                           "vllm:nixl_xfer_time_seconds_count",
                           "vllm:nixl_num_failed_transfers_total",
                           "vllm:nixl_num_kv_expired_reqs_total"}) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(name))) << name;
  }
  EXPECT_EQ(street.metric(pod,
                          "vllm:generation_tokens_total{engine=\"0\","
                          "model_name=\"mock-model\"}"),
            8);
}

TEST(MockPod, AnUnknownEngineOrATooSmallCacheIsRefused) {
  http::asio::io_context io;
  MockCommons commons(io);
  MockOptions unknown;
  unknown.engine = "gpt-5";
  const auto refused = MockPod::start(commons, unknown);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message, HasSubstr("known: vllm-nixl"));
  MockOptions small;
  small.model_options.blocks = 2;
  EXPECT_FALSE(MockPod::start(commons, small).has_value());
}

}  // namespace
}  // namespace baton::adapters::mock::testing
