#include "adapters/engines/llama_cpp/pod_response.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/unit/pod/pod_harness.h"

namespace baton::adapters {
namespace {

const AnswerHead kChatHead{Api::kChat, "chatcmpl-1", "m\"x", 42};
const AnswerHead kTextHead{Api::kCompletions, "cmpl-1", "m", 42};

EngineUsage usage() {
  EngineUsage out;
  out.prompt_tokens = 10;
  out.cached_tokens = 4;
  out.completion_tokens = 3;
  return out;
}

Json event_json(const std::string& event) {
  EXPECT_TRUE(event.starts_with("data: ") && event.ends_with("\n\n")) << event;
  return Json::parse(event.substr(6));
}

TEST(PodResponseTest, WholeChatAnswer) {
  const Json body =
      Json::parse(completion_body(kChatHead, {"a\n\"b\"", ""}, FinishReason::kStop, usage()));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["id"], "chatcmpl-1");
  EXPECT_EQ(body["model"], "m\"x");
  EXPECT_EQ(body["created"], 42);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "a\n\"b\"");
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
  EXPECT_EQ(body["usage"]["total_tokens"], 13);
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
}

TEST(PodResponseTest, WholeCompletionWithMore) {
  const Json body = Json::parse(completion_body(kTextHead, {"ab", ""}, FinishReason::kLength,
                                                usage(), R"(,"kv_transfer_params":{"x":1})"));
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["text"], "ab");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["kv_transfer_params"]["x"], 1);
}

TEST(PodResponseTest, ChatStream) {
  const StreamFormat format(kChatHead, true);
  const Json opening = event_json(format.opening());
  EXPECT_EQ(opening["object"], "chat.completion.chunk");
  EXPECT_EQ(opening["choices"][0]["delta"]["role"], "assistant");
  EXPECT_TRUE(opening["usage"].is_null());
  const Json piece = event_json(format.piece({"t\u20ac", ""}));
  EXPECT_EQ(piece["choices"][0]["delta"]["content"], "t\u20ac");
  EXPECT_TRUE(piece["choices"][0]["finish_reason"].is_null());
  const Json finish = event_json(format.finish({"", ""}, FinishReason::kStop));
  EXPECT_EQ(finish["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(finish["choices"][0]["delta"].empty());
  const Json last = event_json(format.usage(usage()));
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["total_tokens"], 13);
  EXPECT_EQ(StreamFormat::done(), "data: [DONE]\n\n");
}

TEST(PodResponseTest, CompletionStreamWithoutUsage) {
  const StreamFormat format(kTextHead, false);
  EXPECT_EQ(format.opening(), "");
  const Json piece = event_json(format.piece({"x", ""}));
  EXPECT_EQ(piece["choices"][0]["text"], "x");
  EXPECT_FALSE(piece.contains("usage"));
  EXPECT_EQ(event_json(format.finish({"y", ""}, FinishReason::kLength))["choices"][0]["text"], "y");
}

TEST(PodResponseTest, Errors) {
  const Json body = Json::parse(
      error_body({ErrorCode::kInvalidArgument, Stage::kRouter, "n must be 1", false, "n"}));
  EXPECT_EQ(body["error"]["type"], "invalid_request_error");
  EXPECT_EQ(body["error"]["param"], "n");
  EXPECT_EQ(body["error"]["message"], "n must be 1");
  EXPECT_EQ(body["error"]["retryable"], false);
  const Json handoff =
      Json::parse(error_body({ErrorCode::kStale, Stage::kHandoff, "lease is gone", true, {}}));
  EXPECT_EQ(handoff["error"]["type"], "handoff_error");
  EXPECT_EQ(handoff["error"]["code"], "stale");
  EXPECT_EQ(handoff["error"]["stage"], "handoff");
  EXPECT_EQ(handoff["error"]["retryable"], true);
  EXPECT_TRUE(handoff["error"]["param"].is_null());
  const Json model =
      Json::parse(error_body({ErrorCode::kNotFound, Stage::kRouter, "no", false, "model"}));
  EXPECT_EQ(model["error"]["code"], "model_not_found");
}

TEST(PodResponseTest, Timing) {
  EngineUsage facts = usage();
  facts.received_bytes = Bytes(131072);
  facts.received_blocks = 2;
  facts.held_blocks = 1;
  facts.transport = "shm";
  EngineTimes times;
  times.queue = std::chrono::microseconds(1500);
  times.first_token = std::chrono::milliseconds(12);
  const Json timing = Json::parse(timing_json(facts, times));
  EXPECT_DOUBLE_EQ(timing["queue_ms"], 1.5);
  EXPECT_DOUBLE_EQ(timing["first_token_ms"], 12.0);
  EXPECT_EQ(timing["kv_bytes"], 131072);
  EXPECT_EQ(timing["kv_blocks"], 2);
  EXPECT_EQ(timing["kv_held_blocks"], 1);
  EXPECT_EQ(timing["transport"], "shm");
}

class LogprobWriterTest : public ::testing::Test {
 protected:
  MadeModelFiles made_;
  std::shared_ptr<GgufTokenizer> tokenizer_ = *GgufTokenizer::load(made_.files.model_path);
  EngineToken token(std::string_view text, float logprob) {
    EngineToken out;
    out.id = tokenizer_->ids(text, false, false)->front();
    out.piece = tokenizer_->piece(out.id);
    out.logprob = logprob;
    out.top = {{out.id, logprob}, {static_cast<TokenId>(0xff), -2.5F}};
    return out;
  }
};

TEST_F(LogprobWriterTest, ChatForm) {
  LogprobWriter writer(Api::kChat, true, *tokenizer_);
  writer.add(token(" river", -0.25F));
  const Json json = Json::parse(writer.take());
  const Json& entry = json["content"][0];
  EXPECT_EQ(entry["token"], " river");
  EXPECT_DOUBLE_EQ(entry["logprob"], -0.25);
  EXPECT_EQ(entry["bytes"].size(), 6U);
  EXPECT_EQ(entry["top_logprobs"].size(), 2U);
  EXPECT_EQ(entry["top_logprobs"][1]["token"], "\ufffd");  // half a character
  EXPECT_EQ(entry["top_logprobs"][1]["bytes"], Json::array({255}));
  EXPECT_EQ(writer.take(), "");
}

TEST_F(LogprobWriterTest, CompletionFormCountsCharacters) {
  LogprobWriter writer(Api::kCompletions, true, *tokenizer_);
  writer.add(token(" river", -0.25F));
  writer.add(token(".", -std::numeric_limits<float>::infinity()));
  const Json json = Json::parse(writer.take());
  EXPECT_EQ(json["tokens"], Json::array({" river", "."}));
  EXPECT_EQ(json["text_offset"], Json::array({0, 6}));
  EXPECT_DOUBLE_EQ(json["token_logprobs"][1], -9999.0);
  EXPECT_DOUBLE_EQ(json["top_logprobs"][0][" river"], -0.25);
  writer.add(token(" road", -1.0F));
  EXPECT_EQ(Json::parse(writer.take())["text_offset"], Json::array({7}));
}

TEST_F(LogprobWriterTest, NothingWhereNoneAreWanted) {
  LogprobWriter writer(Api::kChat, false, *tokenizer_);
  writer.add(token(" river", -0.25F));
  EXPECT_EQ(writer.take(), "");
}

}  // namespace
}  // namespace baton::adapters
