#include "adapters/engines/llama_cpp/chat_template.h"

#include <gtest/gtest.h>

#include <string>

namespace baton::adapters {
namespace {

constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}:{{ m['content'] }}]{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}[assistant:{% endif %}";

std::string rendered(const std::string& source, const ChatPrompt& prompt) {
  const auto chat = ChatTemplate::parse(source, "<s>", "</s>");
  if (!chat) return "parse: " + chat.error().message;
  const auto text = chat->render(prompt);
  return text ? *text : "render: " + text.error().param;
}

ChatPrompt messages(const std::string& json) { return {json, "", "", true}; }

TEST(ChatTemplateTest, RendersMessages) {
  EXPECT_EQ(rendered(kTemplate, messages(R"([{"role":"system","content":"S"},)"
                                         R"({"role":"user","content":"a\"\u20ac"}])")),
            "<s>[system:S][user:a\"\u20ac][assistant:");
  ChatPrompt open = messages(R"([{"role":"user","content":"a"}])");
  open.add_generation_prompt = false;
  EXPECT_EQ(rendered(kTemplate, open), "<s>[user:a]");
}

TEST(ChatTemplateTest, JoinsTextParts) {
  EXPECT_EQ(
      rendered(kTemplate, messages(R"([{"role":"user","content":[)"
                                   R"({"type":"text","text":"a"},{"type":"text","text":"b"}]}])")),
      "<s>[user:a\nb][assistant:");
}

TEST(ChatTemplateTest, PassesToolsInTheirOrder) {
  ChatPrompt prompt = messages(R"([{"role":"user","content":"a"}])");
  prompt.tools = R"([{"type":"function","function":{"name":"z","a":1}}])";
  EXPECT_EQ(rendered(kTemplate, prompt),
            R"(<s>[user:a][{"type": "function", "function": {"name": "z", "a": 1}}][assistant:)");
}

TEST(ChatTemplateTest, PassesFurtherVariables) {
  ChatPrompt prompt = messages(R"([{"role":"user","content":"a"}])");
  prompt.kwargs = R"({"thinking":true})";
  EXPECT_EQ(rendered("{% if thinking %}yes{% endif %}", prompt), "yes");
}

TEST(ChatTemplateTest, TextIsNeverTakenForTheTemplate) {
  EXPECT_EQ(rendered(kTemplate, messages(R"([{"role":"user","content":"{{ 7 * 7 }}{% x %}"}])")),
            "<s>[user:{{ 7 * 7 }}{% x %}][assistant:");
}

TEST(ChatTemplateTest, RefusesWhatTheModelCannotTake) {
  for (const char* wrong :
       {"[]", "[7]", R"([{"content":"a"}])", R"([{"role":7,"content":"a"}])",
        R"([{"role":"user","content":7}])", R"([{"role":"user","content":["a"]}])",
        R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
        R"([{"role":"user","content":[{"type":"text"}]}])"}) {
    EXPECT_EQ(rendered(kTemplate, messages(wrong)), "render: messages") << wrong;
  }
  EXPECT_EQ(rendered("{{ raise_exception('roles must alternate') }}",
                     messages(R"([{"role":"user","content":"a"}])")),
            "render: messages");
}

TEST(ChatTemplateTest, SaysWhatIsWrongWithATemplate) {
  EXPECT_TRUE(rendered("{% if %}", messages("[]")).starts_with("parse: the model's chat template"));
}

}  // namespace
}  // namespace baton::adapters
