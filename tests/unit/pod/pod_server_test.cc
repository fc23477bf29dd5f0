#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/pod/pod_harness.h"

namespace baton::adapters {
namespace {

class PodServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = new MadeModelFiles();
    PodOptions options;
    options.name = "single";
    options.served_model_names = {"tiny", "tiny-alias"};
    options.engine.model_path = made_->files.model_path;
    options.engine.loras = {{"loud", made_->files.lora_path}};
    options.engine.max_context = Tokens(4096);
    options.engine.max_running = 4;
    pod_ = new RunningPod(std::move(options));
    caller_ = new PodCaller((*pod_)->port());
  }
  static void TearDownTestSuite() {
    delete caller_;
    delete pod_;
    delete made_;
  }
  static Json completion(Json members = Json::object()) {
    Json body = {{"model", "tiny"}, {"prompt", "Rain fell on"}, {"temperature", 0}};
    body.update(members);
    return body;
  }
  static Json chat(Json members = Json::object()) {
    Json body = {{"model", "tiny"},
                 {"temperature", 0},
                 {"messages", {{{"role", "user"}, {"content", "Hello there"}}}}};
    body.update(members);
    return body;
  }
  static std::string text_of(const Json& body) {
    const Json& choice = body.at("choices").at(0);
    return choice.contains("text") ? choice["text"].get<std::string>()
                                   : choice["message"]["content"].get<std::string>();
  }
  static std::string streamed_text(const std::vector<Json>& events) {
    std::string text;
    for (const Json& event : events) {
      if (!event.is_object() || event["choices"].empty()) continue;
      const Json& choice = event["choices"][0];
      text += choice.contains("text") ? choice["text"].get<std::string>()
                                      : choice["delta"].value("content", "");
    }
    return text;
  }
  static inline MadeModelFiles* made_ = nullptr;
  static inline RunningPod* pod_ = nullptr;
  static inline PodCaller* caller_ = nullptr;
};

TEST_F(PodServerTest, CompletesText) {
  const HttpAnswer answer = caller_->post("/v1/completions", completion({{"max_tokens", 20}}));
  ASSERT_EQ(answer.status, 200U) << answer.body;
  EXPECT_EQ(answer.type, "application/json");
  const Json body = answer.json();
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["completion_tokens"], 20);
  EXPECT_GT(text_of(body).size(), 40U);
  const Json timing = Json::parse(answer.timing);
  EXPECT_GT(timing["first_token_ms"].get<double>(), 0.0);
  EXPECT_EQ(timing["kv_blocks"], 0);
}

TEST_F(PodServerTest, DefaultLengths) {
  const Json body = caller_->post("/v1/completions", completion()).json();
  EXPECT_EQ(body["usage"]["completion_tokens"], 16);
  // A chat may take the rest of the context; the prompt leaves 8 tokens of it.
  std::vector<int> ids(4096 - 8, 65);
  const HttpAnswer tight =
      caller_->post("/v1/completions", completion({{"prompt", ids}, {"ignore_eos", true}}));
  EXPECT_EQ(tight.json()["usage"]["completion_tokens"], 8);
}

TEST_F(PodServerTest, StreamsTheSameText) {
  for (const char* path : {"/v1/completions", "/v1/chat/completions"}) {
    const Json whole_request = std::string_view(path) == "/v1/completions"
                                   ? completion({{"max_tokens", 40}})
                                   : chat({{"max_tokens", 40}});
    const Json whole = caller_->post(path, whole_request).json();
    Json request = whole_request;
    request["stream"] = true;
    request["stream_options"] = {{"include_usage", true}};
    const HttpAnswer answer = caller_->post(path, request);
    ASSERT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(answer.type, "text/event-stream");
    EXPECT_FALSE(answer.timing.empty());
    const std::vector<Json> events = answer.events();
    EXPECT_EQ(streamed_text(events), text_of(whole));
    ASSERT_GE(events.size(), 4U);
    EXPECT_EQ(events.back(), "[DONE]");
    const Json& usage = events[events.size() - 2];
    EXPECT_TRUE(usage["choices"].empty());
    EXPECT_EQ(usage["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    const Json& last = events[events.size() - 3];
    EXPECT_EQ(last["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    EXPECT_TRUE(last["usage"].is_null());
  }
}

TEST_F(PodServerTest, StopsAtAStopString) {
  const std::string whole =
      text_of(caller_->post("/v1/completions", completion({{"max_tokens", 60}})).json());
  // From the middle of one word to the middle of the next, so across a token boundary.
  const std::size_t space = whole.find(' ', 30);
  const std::string stop = whole.substr(space - 2, 5);
  const std::string before = whole.substr(0, whole.find(stop));
  for (const bool stream : {false, true}) {
    const HttpAnswer answer = caller_->post(
        "/v1/completions",
        completion({{"max_tokens", 60}, {"stop", {stop, "\x01"}}, {"stream", stream}}));
    if (stream) {
      const auto events = answer.events();
      EXPECT_EQ(streamed_text(events), before);
      EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
    } else {
      EXPECT_EQ(text_of(answer.json()), before);
      EXPECT_EQ(answer.json()["choices"][0]["finish_reason"], "stop");
    }
  }
  EXPECT_TRUE(eventually([] { return pod_->quiet(); }));
}

TEST_F(PodServerTest, SeedsRepeat) {
  const auto sampled = [](int seed) {
    return text_of(
        caller_
            ->post("/v1/completions",
                   completion({{"temperature", 1.5}, {"seed", seed}, {"max_tokens", 40}}))
            .json());
  };
  EXPECT_EQ(sampled(1), sampled(1));
  EXPECT_NE(sampled(1), sampled(2));
}

TEST_F(PodServerTest, AdaptersAnswerUnderTheirName) {
  const std::string base =
      text_of(caller_->post("/v1/completions", completion({{"max_tokens", 40}})).json());
  const Json loud =
      caller_->post("/v1/completions", completion({{"max_tokens", 40}, {"model", "loud"}})).json();
  EXPECT_NE(text_of(loud), base);
  EXPECT_EQ(loud["model"], "loud");
  const Json models = caller_->get("/v1/models").json();
  ASSERT_EQ(models["data"].size(), 3U);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["root"], made_->files.model_path);
  EXPECT_TRUE(models["data"][0]["parent"].is_null());
  EXPECT_EQ(models["data"][2]["id"], "loud");
  EXPECT_EQ(models["data"][2]["parent"], "tiny");
}

TEST_F(PodServerTest, Logprobs) {
  const Json chat_body =
      caller_
          ->post("/v1/chat/completions",
                 chat({{"max_tokens", 5}, {"logprobs", true}, {"top_logprobs", 2}}))
          .json();
  const Json& content = chat_body["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 5U);
  std::string text;
  for (const Json& entry : content) {
    text += entry["token"].get<std::string>();
    EXPECT_LE(entry["logprob"].get<double>(), 0.0);
    ASSERT_EQ(entry["top_logprobs"].size(), 2U);
    EXPECT_EQ(entry["top_logprobs"][0]["token"], entry["token"]);  // greedy
  }
  EXPECT_EQ(text, text_of(chat_body));
  const Json body =
      caller_->post("/v1/completions", completion({{"max_tokens", 5}, {"logprobs", 0}})).json();
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"].size(), 5U);
  EXPECT_EQ(body["choices"][0]["logprobs"]["top_logprobs"][0].size(), 1U);
}

TEST_F(PodServerTest, ReusesPrefixes) {
  const Json request = completion({{"prompt", std::vector<int>(300, 70)}, {"max_tokens", 4}});
  const Json first = caller_->post("/v1/completions", request).json();
  EXPECT_EQ(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  const Json second = caller_->post("/v1/completions", request).json();
  EXPECT_EQ(second["usage"]["prompt_tokens_details"]["cached_tokens"], 256);
  EXPECT_EQ(text_of(first), text_of(second));
  Json salted = request;
  salted["cache_salt"] = "other tenant";
  EXPECT_EQ(caller_->post("/v1/completions", salted)
                .json()["usage"]["prompt_tokens_details"]["cached_tokens"],
            0);
}

TEST_F(PodServerTest, Tokenizes) {
  const Json text =
      caller_
          ->post("/tokenize",
                 {{"model", "tiny"}, {"prompt", " river"}, {"return_token_strs", true}})
          .json();
  EXPECT_EQ(text["count"], 2);  // BOS first
  EXPECT_EQ(text["max_model_len"], 4096);
  EXPECT_EQ(text["tokens"].size(), 2U);
  EXPECT_EQ(text["token_strs"][1], " river");
  const Json messages = caller_->post("/tokenize", chat()).json();
  const Json answer = caller_->post("/v1/chat/completions", chat({{"max_tokens", 1}})).json();
  EXPECT_EQ(messages["count"], answer["usage"]["prompt_tokens"]);
}

TEST_F(PodServerTest, RefusesBadRequestsAndGoesOn) {
  const auto param = [](const HttpAnswer& answer) {
    EXPECT_EQ(answer.status, 400U) << answer.body;
    const Json error = answer.json()["error"];
    EXPECT_EQ(error["type"], "invalid_request_error");
    return error["param"].is_null() ? "" : error["param"].get<std::string>();
  };
  EXPECT_EQ(param(caller_->call("POST", "/v1/completions", "{")), "");
  EXPECT_EQ(param(caller_->post("/v1/completions", completion({{"n", 2}}))), "n");
  EXPECT_EQ(param(caller_->post("/v1/completions", completion({{"max_tokens", 0}}))), "max_tokens");
  EXPECT_EQ(param(caller_->post("/v1/completions", completion({{"max_tokens", 5000}}))),
            "max_tokens");
  EXPECT_EQ(param(caller_->post("/v1/completions", completion({{"prompt", {1, 1000000}}}))),
            "prompt");
  EXPECT_EQ(
      param(caller_->post("/v1/completions", completion({{"prompt", std::vector<int>(4096, 65)}}))),
      "prompt");
  EXPECT_EQ(
      param(caller_->post("/v1/completions", completion({{"prompt", std::string(200000, 'a')}}))),
      "prompt");
  EXPECT_EQ(param(caller_->post("/v1/chat/completions", chat({{"messages", Json::array()}}))),
            "messages");
  EXPECT_EQ(caller_->post("/v1/completions", completion({{"model", "none"}})).status, 404U);
  EXPECT_EQ(caller_->get("/nowhere").status, 404U);
  EXPECT_EQ(caller_->get("/v1/completions").status, 405U);
  EXPECT_EQ(caller_->post("/v1/completions", completion()).status, 200U);
}

TEST_F(PodServerTest, AClientThatLeavesIsCancelled) {
  const auto cancelled = (*pod_)->stats().requests_cancelled.load();
  const std::string piece = caller_->leave_after_first_piece(
      "/v1/completions",
      completion({{"max_tokens", 4000}, {"ignore_eos", true}, {"stream", true}}));
  EXPECT_TRUE(piece.starts_with("data: ")) << piece;
  EXPECT_TRUE(eventually([&] { return (*pod_)->stats().requests_cancelled > cancelled; }));
  EXPECT_TRUE(eventually([] { return pod_->quiet(); }));
}

TEST_F(PodServerTest, RequestsRunSideBySide) {
  const Json request = completion({{"max_tokens", 30}, {"ignore_eos", true}});
  std::vector<std::future<HttpAnswer>> answers;
  for (int i = 0; i < 12; ++i) {
    answers.push_back(caller_->begin("POST", "/v1/completions", request.dump()));
  }
  for (auto& answer : answers) {
    const HttpAnswer got = answer.get();
    EXPECT_EQ(got.status, 200U) << got.body;
    EXPECT_EQ(got.json()["usage"]["completion_tokens"], 30);
  }
  EXPECT_TRUE(eventually([] { return pod_->quiet(); }));
}

TEST_F(PodServerTest, MetricsUnderVllmsNames) {
  (void)caller_->post("/v1/completions", completion({{"max_tokens", 4}}));
  EXPECT_TRUE(eventually([] { return pod_->quiet(); }));
  const HttpAnswer answer = caller_->get("/metrics");
  EXPECT_EQ(answer.status, 200U);
  for (const char* line :
       {"vllm:num_requests_running{model_name=\"tiny\"} 0",
        "vllm:num_requests_waiting{model_name=\"tiny\"} 0",
        "vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0", "block_size=\"64\"",
        "vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",le=\"0.001\"}",
        "vllm:inter_token_latency_seconds_count{model_name=\"tiny\"}",
        "vllm:generation_tokens_total{model_name=\"tiny\"}",
        "vllm:lora_requests_info{max_lora=\"1\",model_name=\"tiny\",running_lora_adapters=\"\","
        "waiting_lora_adapters=\"\"} 1",
        "baton_pod_blocks_pinned 0"}) {
    EXPECT_NE(answer.body.find(line), std::string::npos) << line;
  }
}

TEST_F(PodServerTest, HealthAndFacts) {
  EXPECT_EQ(caller_->get("/health").status, 200U);
  const Json facts = caller_->get("/baton/facts").json();
  EXPECT_EQ(facts["engine_id"], "single");
  EXPECT_EQ(facts["role"], "both");
  EXPECT_EQ(facts["block_tokens"], 64);
  EXPECT_EQ(facts["max_context"], 4096);
  EXPECT_GE(facts["bytes_per_token"], 2048);
  EXPECT_EQ(facts["layout_hash"].get<std::string>().size(), 16U);
  EXPECT_EQ(facts["kv_address"], (*pod_)->kv_address());
  EXPECT_EQ(facts["loras"], Json::array({"loud"}));
}

}  // namespace
}  // namespace baton::adapters
