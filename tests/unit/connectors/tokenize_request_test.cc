#include "adapters/engines/tokenize_request.h"

#include <gtest/gtest.h>

namespace baton::adapters {
namespace {

std::optional<std::string> body_of(Api api, std::string body) {
  const auto request = OpenAiRequest::parse(api, std::move(body), {});
  EXPECT_TRUE(request);
  return request ? tokenize_request(*request, "m") : std::nullopt;
}

TEST(TokenizeRequest, HasThePromptAsItWasWritten) {
  EXPECT_EQ(
      body_of(
          Api::kCompletions,
          R"({"model":"x","prompt":"a \u00e4 \"b\"","max_tokens":3,"add_special_tokens":false})"),
      R"({"model":"m","prompt":"a \u00e4 \"b\"","add_special_tokens":false})");
}

TEST(TokenizeRequest, HasWhatShapesTheChatTemplate) {
  EXPECT_EQ(
      body_of(
          Api::kChat,
          R"({"model":"x","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],)"
          R"("stream":true,"tools":[{"a":1}],"chat_template_kwargs":{"thinking":false},)"
          R"("add_generation_prompt":null,"seed":3})"),
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],)"
      R"("tools":[{"a":1}],"chat_template_kwargs":{"thinking":false}})");
}

TEST(TokenizeRequest, IsNotForIdsBatchesAndImages) {
  EXPECT_FALSE(body_of(Api::kCompletions, R"({"model":"x","prompt":[1,2]})"));
  EXPECT_FALSE(body_of(Api::kCompletions, R"({"model":"x","prompt":["a","b"]})"));
  EXPECT_FALSE(body_of(
      Api::kChat,
      R"({"model":"x","messages":[{"role":"user","content":[{"type":"text","text":"what?"},)"
      R"({"type":"image_url","image_url":{"url":"http://h/i.png"}}]}]})"));
}

}  // namespace
}  // namespace baton::adapters
