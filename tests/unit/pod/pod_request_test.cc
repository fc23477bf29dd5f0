#include "adapters/engines/llama_cpp/pod_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace baton::adapters {
namespace {

const ServedModels kModels{{"base", "alias"}, {"sql", "chat"}};

Result<PodRequest> chat(const std::string& members) {
  return parse_pod_request(
      Api::kChat, R"({"model":"base","messages":[{"role":"user","content":"x"}])" + members + "}",
      kModels);
}

Result<PodRequest> completion(const std::string& members) {
  return parse_pod_request(Api::kCompletions, R"({"model":"base")" + members + "}", kModels);
}

// The `param` of the refusal, "" where the request was taken.
std::string refused(const Result<PodRequest>& request) {
  return request ? "" : request.error().param;
}

TEST(PodRequestTest, ReadsAChatRequest) {
  const auto request = chat(
      R"(,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"seed":7,"stop":["a","b"],)"
      R"("max_completion_tokens":9,"max_tokens":5,"stream":true,"logprobs":true,"top_logprobs":3,)"
      R"("stream_options":{"include_usage":true},"ignore_eos":true,"n":1,"cache_salt":"s",)"
      R"("tools":[{"type":"function","function":{"name":"f"}}],"user":"u","unknown":{"a":[1]}})");
  ASSERT_FALSE(request.has_value());  // one brace too many
  const auto good = chat(
      R"(,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"seed":7,"stop":["a","b"],)"
      R"("max_completion_tokens":9,"max_tokens":5,"stream":true,"logprobs":true,"top_logprobs":3,)"
      R"("stream_options":{"include_usage":true},"ignore_eos":true,"n":1,"cache_salt":"s",)"
      R"("tools":[{"type":"function","function":{"name":"f"}}],"user":"u","unknown":{"a":[1]})");
  ASSERT_TRUE(good.has_value()) << good.error().message;
  EXPECT_EQ(good->model, "base");
  EXPECT_EQ(good->lora, -1);
  EXPECT_FLOAT_EQ(good->sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(good->sampling.top_p, 0.9F);
  EXPECT_EQ(good->sampling.top_k, 40);
  EXPECT_FLOAT_EQ(good->sampling.min_p, 0.1F);
  EXPECT_EQ(good->sampling.seed, 7U);
  EXPECT_TRUE(good->sampling.ignore_eos);
  EXPECT_EQ(good->sampling.logprobs, 3);
  EXPECT_EQ(good->stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(good->max_tokens, 9);
  EXPECT_TRUE(good->stream);
  EXPECT_TRUE(good->include_usage);
  EXPECT_EQ(good->cache_salt, "s");
  ASSERT_TRUE(good->chat.has_value());
  EXPECT_EQ(good->chat->messages, R"([{"role":"user","content":"x"}])");
  EXPECT_EQ(good->chat->tools, R"([{"type":"function","function":{"name":"f"}}])");
}

TEST(PodRequestTest, NullIsAbsent) {
  const auto request =
      chat(R"(,"stop":null,"max_tokens":null,"seed":null,"stream_options":null,"tools":null)");
  ASSERT_TRUE(request.has_value()) << request.error().message;
  EXPECT_FALSE(request->max_tokens.has_value());
  EXPECT_FALSE(request->sampling.seed.has_value());
  EXPECT_EQ(request->sampling.temperature, 1.0F);
  EXPECT_EQ(request->sampling.logprobs, -1);
}

TEST(PodRequestTest, ModelsChooseAdapters) {
  const auto of = [](const std::string& model) {
    return parse_pod_request(Api::kCompletions, R"({"model":")" + model + R"(","prompt":"x"})",
                             kModels);
  };
  EXPECT_EQ(of("alias")->lora, -1);
  EXPECT_EQ(of("sql")->lora, 0);
  EXPECT_EQ(of("chat")->lora, 1);
  const auto unknown = of("nobody");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(unknown.error().param, "model");
}

TEST(PodRequestTest, ReadsPrompts) {
  EXPECT_EQ(completion(R"(,"prompt":"x y")")->text, "x y");
  EXPECT_EQ(completion(R"(,"prompt":["x"])")->text, "x");
  EXPECT_EQ(completion(R"(,"prompt":[1,2])")->ids, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(completion(R"(,"prompt":[[3]])")->ids, (std::vector<TokenId>{3}));
  for (const std::string prompt : {R"(["a","b"])", "[[1],[2]]", "[]", "[[]]", "3", "{}", "[1.5]",
                                   "[-1]", "[1,\"a\"]", "[null]", "[4294967296]"}) {
    EXPECT_EQ(refused(completion(R"(,"prompt":)" + prompt)), "prompt") << prompt;
  }
}

TEST(PodRequestTest, NamesTheWrongField) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"(,"temperature":"hot")", "temperature"},
      {R"(,"temperature":-0.1)", "temperature"},
      {R"(,"temperature":2.1)", "temperature"},
      {R"(,"top_p":0)", "top_p"},
      {R"(,"top_p":1.5)", "top_p"},
      {R"(,"top_k":-2)", "top_k"},
      {R"(,"top_k":1.5)", "top_k"},
      {R"(,"min_p":2)", "min_p"},
      {R"(,"seed":"x")", "seed"},
      {R"(,"max_tokens":0)", "max_tokens"},
      {R"(,"max_tokens":1e3)", "max_tokens"},
      {R"(,"max_completion_tokens":-1)", "max_completion_tokens"},
      {R"(,"n":2)", "n"},
      {R"(,"n":0)", "n"},
      {R"(,"n":"1")", "n"},
      {R"(,"stop":[1])", "stop"},
      {R"(,"stop":"")", "stop"},
      {R"(,"stop":["a","b","c","d","e"])", "stop"},
      {R"(,"stop":{})", "stop"},
      {R"(,"stream":1)", "stream"},
      {R"(,"stream_options":{"include_usage":true})", "stream_options"},
      {R"(,"stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"(,"logprobs":2)", "logprobs"},
      {R"(,"top_logprobs":2)", "top_logprobs"},
      {R"(,"logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"(,"presence_penalty":1)", "presence_penalty"},
      {R"(,"logit_bias":{"5":1})", "logit_bias"},
      {R"(,"response_format":{"type":"json_object"})", "response_format"},
      {R"(,"response_format":{"type":7})", "response_format"},
      {R"(,"tool_choice":"required")", "tool_choice"},
      {R"(,"tools":{})", "tools"},
      {R"(,"ignore_eos":"yes")", "ignore_eos"},
      {R"(,"kv_transfer_params":{})", "kv_transfer_params"},
      {R"(,"kv_transfer_params":{"baton":{"role":"producer","transfer_id":"12"}})",
       "kv_transfer_params"},
  };
  for (const auto& [members, param] : wrong) EXPECT_EQ(refused(chat(members)), param) << members;
  EXPECT_EQ(refused(completion(R"(,"prompt":"x","echo":true)")), "echo");
  EXPECT_EQ(refused(completion(R"(,"prompt":"x","best_of":2)")), "best_of");
  EXPECT_EQ(refused(completion(R"(,"prompt":"x","logprobs":6)")), "logprobs");
  EXPECT_EQ(refused(completion("")), "prompt");
}

TEST(PodRequestTest, NeutralValuesOfUnsupportedFieldsPass) {
  EXPECT_EQ(refused(chat(R"(,"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},)"
                         R"("response_format":{"type":"text"},"tool_choice":"auto")")),
            "");
}

TEST(PodRequestTest, RefusesWhatIsNoObject) {
  for (const std::string body : {"", "{", "[]", "null", "{\"a\":\"\xff\"}", "{\"a\":1}x"}) {
    const auto request = parse_pod_request(Api::kChat, body, kModels);
    ASSERT_FALSE(request.has_value()) << body;
    EXPECT_EQ(request.error().code, ErrorCode::kInvalidArgument);
  }
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  EXPECT_NE(chat(",\"x\":" + deep).error().message.find("64"), std::string::npos);
  EXPECT_TRUE(chat(",\"x\":" + deep.substr(50, 100)).has_value());
}

TEST(PodRequestTest, ReadsTheLegsOfAHandoff) {
  const std::string id(32, 'a');
  const auto producer =
      chat(R"(,"kv_transfer_params":{"baton":{"role":"producer","transfer_id":")" + id + R"("}})");
  ASSERT_TRUE(producer.has_value()) << producer.error().message;
  EXPECT_EQ(producer->producer->str(), id);
  EXPECT_FALSE(producer->consumer.has_value());

  const auto consumer =
      chat(R"(,"kv_transfer_params":{"baton":{"role":"consumer","transfer_id":")" + id +
           R"(","kv_address":"127.0.0.1:9","engine_id":"p0","epoch":18446744073709551615}})");
  ASSERT_TRUE(consumer.has_value()) << consumer.error().message;
  EXPECT_EQ(consumer->consumer->kv_address, "127.0.0.1:9");
  EXPECT_EQ(consumer->consumer->engine_id, "p0");
  EXPECT_EQ(consumer->consumer->epoch, 18446744073709551615ULL);
}

TEST(TokenizeRequestTest, TakesTextOrMessages) {
  const auto text = parse_tokenize_request(R"({"model":"base","prompt":"x"})", kModels);
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->text, "x");
  EXPECT_TRUE(text->add_special);
  const auto chat_text =
      parse_tokenize_request(R"({"messages":[],"return_token_strs":true})", kModels);
  ASSERT_TRUE(chat_text.has_value());
  EXPECT_TRUE(chat_text->chat.has_value());
  EXPECT_TRUE(chat_text->want_strings);
  EXPECT_EQ(parse_tokenize_request("{}", kModels).error().param, "prompt");
  EXPECT_EQ(parse_tokenize_request(R"({"model":"no","prompt":"x"})", kModels).error().param,
            "model");
}

}  // namespace
}  // namespace baton::adapters
