#include "orchestrator/bench/generator/openai_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace baton::orchestrator::bench {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class OpenAiBodyTest : public testing::Test {
 protected:
  OpenAiBodyTest() {
    target_.model = "m";
    request_.turns = {{"user", "hi \"you\"\n\xFF"}};
    request_.max_tokens = 9;
  }
  // The text, since a parser would hide a member that stands twice.
  std::string text() {
    const auto body = OpenAiBody::create(target_, options_);
    if (!body) return "error: " + body.error().message;
    const auto built = body->build(request_);
    return built ? *built : "error: " + built.error().message;
  }

  Target target_;
  RunOptions options_;
  WorkloadRequest request_;
};

TEST_F(OpenAiBodyTest, AsksForAStreamOfAChat) {
  EXPECT_EQ(text(), R"({"model":"m","messages":[{"role":"user","content":"hi \"you\"\n\ufffd"}],)"
                    R"("max_tokens":9,"stream":true,"stream_options":{"include_usage":true}})");
}

TEST_F(OpenAiBodyTest, KeepsTurnsApartInAChatAndJoinsThemInACompletion) {
  request_.turns = {{"system", "be"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  const Json chat = Json::parse(text());
  ASSERT_EQ(chat["messages"].size(), 4u);
  EXPECT_EQ(chat["messages"][2]["role"], "assistant");
  target_.chat = false;
  const Json completion = Json::parse(text());
  EXPECT_EQ(completion["prompt"], "be\na\nb\nc");
  EXPECT_FALSE(completion.contains("messages"));
}

TEST_F(OpenAiBodyTest, SendsTokenIdsInCompletionsOnly) {
  request_.turns.clear();
  request_.token_ids = {1, 22, 333};
  EXPECT_THAT(text(), HasSubstr("error: prompts of token ids need the completions endpoint"));
  target_.chat = false;
  EXPECT_EQ(Json::parse(text())["prompt"], Json({1, 22, 333}));
}

TEST_F(OpenAiBodyTest, LeavesOutWhatWasNotAskedFor) {
  options_.stream = false;
  request_.max_tokens = 0;
  EXPECT_EQ(text(), R"({"model":"m","messages":[{"role":"user","content":"hi \"you\"\n\ufffd"}],)"
                    R"("stream":false})");
}

TEST_F(OpenAiBodyTest, SaysAllThatWasAskedFor) {
  options_.temperature = 0.25;
  options_.ignore_eos = true;
  request_.priority = -2;
  request_.model = "lora-1";
  const Json body = Json::parse(text());
  EXPECT_EQ(body["temperature"], 0.25);
  EXPECT_EQ(body["ignore_eos"], true);
  EXPECT_EQ(body["priority"], -2);
  EXPECT_EQ(body["model"], "lora-1");
}

TEST_F(OpenAiBodyTest, TheUsersMembersReplaceOurs) {
  options_.temperature = 0.5;
  options_.extra_body = R"( {"temperature": 1, "top_p":0.9, "max_tokens":3,"x":{"y":[1]} } )";
  request_.turns = {{"user", "a"}};
  EXPECT_EQ(text(), R"({"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,)"
                    R"("stream_options":{"include_usage":true},"temperature": 1,"top_p":0.9,)"
                    R"("max_tokens":3,"x":{"y":[1]}})");
}

TEST_F(OpenAiBodyTest, RefusesExtrasThatItCannotAdd) {
  options_.extra_body = "[1]";
  EXPECT_THAT(text(), HasSubstr("error: the extra body is no JSON object"));
  for (const std::string key : {"stream", "messages", "prompt", "model"}) {
    options_.extra_body = "{\"" + key + "\":1}";
    EXPECT_EQ(text(), "error: the extra body must not set '" + key + "'");
  }
  options_.extra_body = "{}";
  EXPECT_FALSE(text().starts_with("error"));
}

TEST_F(OpenAiBodyTest, RefusesRequestsThatAskNothing) {
  request_.turns.clear();
  EXPECT_EQ(text(), "error: a request without a prompt");
  options_.temperature = std::numeric_limits<double>::infinity();
  EXPECT_EQ(text(), "error: the temperature is no number");
}

}  // namespace
}  // namespace baton::orchestrator::bench
