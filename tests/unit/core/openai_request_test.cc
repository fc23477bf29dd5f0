#include "core/openai_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace baton {
namespace {

Result<OpenAiRequest> chat(std::string body) {
  return OpenAiRequest::parse(Api::kChat, std::move(body), RequestLimits{});
}
Result<OpenAiRequest> completion(std::string body) {
  return OpenAiRequest::parse(Api::kCompletions, std::move(body), RequestLimits{});
}

// A chat that is good but for `member`, which comes last.
std::string chat_with(std::string_view member) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}],)" + std::string(member) + "}";
}
std::string chat_of(std::string_view messages) {
  return R"({"model":"m","messages":)" + std::string(messages) + "}";
}
std::string completion_of(std::string_view prompt) {
  return R"({"model":"m","prompt":)" + std::string(prompt) + "}";
}

TEST(OpenAiRequest, ReadsWhatRoutingNeeds) {
  const auto request = chat(
      R"({"model":"m\u0061x","messages":[{"role":"user","content":"hi"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_tokens":7,"max_completion_tokens":9,"n":2,)"
      R"("logprobs":true,"cache_salt":"s","unknown":12345678901234567890})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->model, "max");
  EXPECT_TRUE(request->stream);
  EXPECT_TRUE(request->include_usage);
  EXPECT_EQ(request->max_tokens, 9);
  EXPECT_EQ(request->n, 2);
  EXPECT_TRUE(request->has_logprobs);
  EXPECT_EQ(request->cache_salt, "s");
  EXPECT_EQ(request->canonical_text, "\x1euser\x1fhi");
}

TEST(OpenAiRequest, TakesNullForAbsent) {
  const auto request = chat(chat_with(
      R"("stream":null,"stream_options":null,"max_tokens":null,"n":null,"stop":null,"tools":null)"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_FALSE(request->stream);
  EXPECT_EQ(request->max_tokens, std::nullopt);
  EXPECT_EQ(request->n, 1);
}

TEST(OpenAiRequest, ReadsTheThreeFormsOfAPrompt) {
  const auto text = completion(completion_of(R"("once\nupon")"));
  ASSERT_TRUE(text);
  EXPECT_EQ(text->canonical_text, "once\nupon");
  EXPECT_FALSE(text->prompt_is_batch);

  const auto ids = completion(completion_of("[1, 2,30000]"));
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->prompt_ids, (std::vector<TokenId>{1, 2, 30000}));
  EXPECT_TRUE(ids->canonical_text.empty());
  EXPECT_FALSE(ids->prompt_is_batch);

  EXPECT_TRUE(completion(completion_of(R"(["a","b"])"))->prompt_is_batch);
  EXPECT_TRUE(completion(completion_of("[[1,2],[3]]"))->prompt_is_batch);
}

struct Refusal {
  const char* member;
  const char* param;
};

class RefusedMember : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedMember, IsNamed) {
  const auto request = chat(chat_with(GetParam().member));
  ASSERT_FALSE(request) << GetParam().member;
  EXPECT_EQ(request.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(request.error().param, GetParam().param) << request.error().message;
  EXPECT_FALSE(request.error().retryable);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, RefusedMember,
    testing::Values(
        Refusal{R"("kv_transfer_params":{})", "kv_transfer_params"},
        Refusal{R"("kv_transfer_params":null)", "kv_transfer_params"},
        Refusal{R"("kv\u005ftransfer_params":{})", "kv_transfer_params"},
        Refusal{R"("bootstrap_host":"h")", "bootstrap_host"},
        Refusal{R"("bootstrap_port":1)", "bootstrap_port"},
        Refusal{R"("bootstrap_room":1)", "bootstrap_room"},
        Refusal{R"("disaggregated_params":{})", "disaggregated_params"},
        Refusal{R"("disagg_params":{})", "disagg_params"},
        Refusal{R"("vllm_xargs":{"kv_transfer_params":1})", "vllm_xargs.kv_transfer_params"},
        Refusal{R"("model":"m2")", "model"}, Refusal{R"("mod\u0065l":"m2")", "model"},
        Refusal{R"("stream":true,"stream":false)", "stream"},
        Refusal{R"("cache_salt":"a","cache_salt":"b")", "cache_salt"},
        Refusal{R"("max_tokens":0)", "max_tokens"}, Refusal{R"("max_tokens":-5)", "max_tokens"},
        Refusal{R"("max_tokens":1.5)", "max_tokens"}, Refusal{R"("max_tokens":"7")", "max_tokens"},
        Refusal{R"("max_tokens":99999999999999999999)", "max_tokens"},
        Refusal{R"("max_completion_tokens":0)", "max_completion_tokens"}, Refusal{R"("n":0)", "n"},
        Refusal{R"("n":129)", "n"}, Refusal{R"("n":true)", "n"},
        Refusal{R"("stream":"yes")", "stream"}, Refusal{R"("stream":1)", "stream"},
        Refusal{R"("stream_options":{"include_usage":true})", "stream_options"},
        Refusal{R"("stream":true,"stream_options":[])", "stream_options"},
        Refusal{R"("stream":true,"stream_options":{"include_usage":1})",
                "stream_options.include_usage"},
        Refusal{R"("temperature":"hot")", "temperature"}, Refusal{R"("seed":1.5)", "seed"},
        Refusal{R"("stop":7)", "stop"}, Refusal{R"("stop":["a",7])", "stop"},
        Refusal{R"("logprobs":3)", "logprobs"}, Refusal{R"("cache_salt":7)", "cache_salt"},
        Refusal{R"("tools":{})", "tools"}));

class RefusedMessages : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedMessages, AreNamed) {
  const auto request = chat(chat_of(GetParam().member));
  ASSERT_FALSE(request) << GetParam().member;
  EXPECT_EQ(request.error().param, GetParam().param) << request.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, RefusedMessages,
    testing::Values(Refusal{"[]", "messages"}, Refusal{"null", "messages"},
                    Refusal{R"("hi")", "messages"}, Refusal{"[1]", "messages[0]"},
                    Refusal{R"([{"content":"x"}])", "messages[0].role"},
                    Refusal{R"([{"role":7,"content":"x"}])", "messages[0].role"},
                    Refusal{R"([{"role":"","content":"x"}])", "messages[0].role"},
                    Refusal{R"([{"role":"user","content":7}])", "messages[0].content"},
                    Refusal{R"([{"role":"user","content":"a"},{"role":"user","content":[3]}])",
                            "messages[1].content[0]"},
                    Refusal{R"([{"role":"user","content":[{"text":"a"}]}])",
                            "messages[0].content[0].type"},
                    Refusal{R"([{"role":"user","content":[{"type":"text"}]}])",
                            "messages[0].content[0].text"}));

class RefusedPrompt : public testing::TestWithParam<const char*> {};

TEST_P(RefusedPrompt, IsNamed) {
  const auto request = completion(completion_of(GetParam()));
  ASSERT_FALSE(request) << GetParam();
  EXPECT_EQ(request.error().param, "prompt");
}

INSTANTIATE_TEST_SUITE_P(Cases, RefusedPrompt,
                         testing::Values("null", "7", "{}", "[]", R"([1,"a"])", R"(["a",1])",
                                         "[-1]", "[2147483648]", "[1.5]", "[[]]", "[[1],2]",
                                         R"([["a"]])", "[null]"));

TEST(OpenAiRequest, NamesWhatIsMissing) {
  EXPECT_EQ(chat(R"({"messages":[{"role":"user","content":"x"}]})").error().param, "model");
  EXPECT_EQ(chat(R"({"model":"m"})").error().param, "messages");
  EXPECT_EQ(completion(R"({"model":"m"})").error().param, "prompt");
  EXPECT_EQ(chat(R"({"model":"","messages":[]})").error().param, "model");
}

TEST(OpenAiRequest, RefusesMalformedAndDeepBodies) {
  EXPECT_FALSE(chat("").has_value());
  EXPECT_FALSE(chat("[]").has_value());
  EXPECT_FALSE(chat(R"({"model":"m",})").has_value());
  const auto deep = chat(chat_with(R"("x":)" + std::string(64, '[') + std::string(64, ']')));
  ASSERT_FALSE(deep);
  EXPECT_NE(deep.error().message.find("64"), std::string::npos);
}

std::string canonical(std::string body) {
  auto request = chat(std::move(body));
  EXPECT_TRUE(request) << request.error().message;
  return request ? request->canonical_text : "";
}

TEST(CanonicalPrompt, IsTheSameForTheSameConversation) {
  EXPECT_EQ(canonical(chat_of(R"([{"role":"user","content":"a\u0062"}])")),
            canonical(chat_of(R"([ {"content":[{"text":"ab","type":"text"}],"role":"user"} ])")));
}

TEST(CanonicalPrompt, GrowsAtItsEndAsTheConversationDoes) {
  const std::string first = canonical(chat_of(R"([{"role":"user","content":"a"}])"));
  const std::string second =
      canonical(chat_of(R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])"));
  EXPECT_TRUE(second.starts_with(first));
}

TEST(CanonicalPrompt, PutsToolsFirstAndKeepsCallsApart) {
  const std::string text = canonical(
      R"({"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}],)"
      R"("tools":[{"type":"function"}]})");
  EXPECT_EQ(text,
            "\x1d[{\"type\":\"function\"}]\x1e"
            "assistant\x1ftool_calls=[{\"id\":\"1\"}]");
}

TEST(CanonicalPrompt, KnowsOtherPartsByTheirHash) {
  const auto with_image = [](const std::string& url) {
    return canonical(
        chat_of(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":")" + url +
                R"("}},{"type":"text","text":"what?"}]}])"));
  };
  const std::string text = with_image("data:AAAA");
  EXPECT_EQ(text.size(),
            std::string("\x1euser\x1fimage_url:").size() + 32 + std::string("\x1fwhat?").size());
  EXPECT_EQ(text, with_image("data:AAAA"));
  EXPECT_NE(text, with_image("data:AAAB"));
}

}  // namespace
}  // namespace baton
