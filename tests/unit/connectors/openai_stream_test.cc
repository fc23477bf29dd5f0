#include "adapters/engines/openai_stream.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace baton::adapters {
namespace {

using nlohmann::json;

const std::string kChat =
    R"({"id":"chatcmpl-1","object":"chat.completion","created":18446744073709551615,"model":"m",)"
    R"("choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9\n","refusal":null,)"
    R"("reasoning_content":"why","tool_calls":[]},"logprobs":{"content":[{"token":"h",)"
    R"("logprob":-0.10,"bytes":[104],"top_logprobs":[]}]},"finish_reason":"stop",)"
    R"("stop_reason":"x"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}})";

// The data of each event; the last is [DONE].
std::vector<std::string> events_of(const std::string& stream) {
  std::vector<std::string> events;
  std::size_t at = 0;
  while (at < stream.size()) {
    const std::size_t end = stream.find("\n\n", at);
    EXPECT_EQ(stream.substr(at, 6), "data: ");
    EXPECT_NE(end, std::string::npos);
    events.push_back(stream.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return events;
}

std::vector<std::string> rendered(Api api, const std::string& answer, bool include_usage) {
  const auto stream = stream_of_answer(api, answer, include_usage);
  EXPECT_TRUE(stream.has_value());
  return stream ? events_of(*stream) : std::vector<std::string>{};
}

TEST(StreamOfAnswer, AChatAnswerIsItsMessageThenItsEndThenItsUsage) {
  const auto events = rendered(Api::kChat, kChat, true);
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0],
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":18446744073709551615,)"
            R"("model":"m","choices":[{"index":0,"logprobs":{"content":[{"token":"h",)"
            R"("logprob":-0.10,"bytes":[104],"top_logprobs":[]}]},"finish_reason":null,)"
            R"("delta":{"role":"assistant","content":"h\u00e9\n","reasoning_content":"why"}}]})");
  EXPECT_EQ(events[1],
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":18446744073709551615,)"
            R"("model":"m","choices":[{"index":0,"finish_reason":"stop","stop_reason":"x",)"
            R"("delta":{}}]})");
  EXPECT_EQ(events[2],
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":18446744073709551615,)"
            R"("model":"m","choices":[],)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}})");
  EXPECT_EQ(events[3], "[DONE]");
}

TEST(StreamOfAnswer, UsageIsThereOnlyWhereItWasAskedFor) {
  const auto events = rendered(Api::kChat, kChat, false);
  ASSERT_EQ(events.size(), 3U);
  for (const auto& event : events) EXPECT_EQ(event.find("usage"), std::string::npos);
}

TEST(StreamOfAnswer, ToolCallsAreNumbered) {
  const auto events = rendered(
      Api::kChat,
      R"({"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":)"
      R"([{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}},)"
      R"({"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},)"
      R"("finish_reason":"tool_calls"}]})",
      true);
  ASSERT_EQ(events.size(), 3U) << "no usage: there was none";
  const json delta = json::parse(events[0]).at("choices")[0].at("delta");
  EXPECT_FALSE(delta.contains("content"));
  ASSERT_EQ(delta.at("tool_calls").size(), 2U);
  EXPECT_EQ(delta.at("tool_calls")[0].at("index"), 0);
  EXPECT_EQ(delta.at("tool_calls")[1].at("index"), 1);
  EXPECT_EQ(delta.at("tool_calls")[1].at("function").at("name"), "g");
  EXPECT_EQ(json::parse(events[1]).at("choices")[0].at("finish_reason"), "tool_calls");
}

TEST(StreamOfAnswer, ACompletionsAnswerIsOneChunk) {
  const std::string choice =
      R"({"index":0,"text":"x","logprobs":{"tokens":["x"],"token_logprobs":[-1.5e-3]},)"
      R"("finish_reason":"stop"})";
  const auto events = rendered(Api::kCompletions,
                               R"({"id":"cmpl-1","object":"text_completion","choices":[)" + choice +
                                   R"(],"usage":{"prompt_tokens":1}})",
                               true);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0], R"({"id":"cmpl-1","object":"text_completion","choices":[)" + choice + "]}");
  EXPECT_EQ(
      events[1],
      R"({"id":"cmpl-1","object":"text_completion","choices":[],"usage":{"prompt_tokens":1}})");
  EXPECT_EQ(events[2], "[DONE]");
}

TEST(StreamOfAnswer, EveryChoiceHasItsChunks) {
  const auto events = rendered(
      Api::kChat,
      R"({"choices":[{"index":0,"message":{"content":"a"}},{"index":1,"message":{"content":"b"}}]})",
      false);
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(json::parse(events[2]).at("choices")[0].at("delta").at("content"), "b");
}

TEST(StreamOfAnswer, LineBreaksBetweenMembersDoNotEndAnEvent) {
  const auto events =
      rendered(Api::kCompletions, "{\"choices\":\r\n[\n{\"text\":\"a\\nb\"}]\n}", false);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(json::parse(events[0]).at("choices")[0].at("text"), "a\nb");
}

TEST(StreamOfAnswer, WhatIsNoAnswerIsAnError) {
  for (const std::string answer :
       {"", "[]", "{}", R"({"choices":{}})", R"({"choices":[1]})", R"({"choices":[{"index":0}]})",
        R"({"choices":[{"message":"x"}]})"}) {
    const auto stream = stream_of_answer(Api::kChat, answer, true);
    ASSERT_FALSE(stream.has_value()) << answer;
    EXPECT_EQ(stream.error().code, ErrorCode::kUpstream);
  }
}

}  // namespace
}  // namespace baton::adapters
