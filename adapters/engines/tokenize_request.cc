#include "adapters/engines/tokenize_request.h"

#include <array>

#include "core/json_cursor.h"
#include "core/json_fields.h"

namespace baton::adapters {
namespace {

constexpr std::array<std::string_view, 2> kCompletionKeys = {"prompt", "add_special_tokens"};
constexpr std::array<std::string_view, 7> kChatKeys = {
    "messages",           "tools",         "add_generation_prompt", "continue_final_message",
    "add_special_tokens", "chat_template", "chat_template_kwargs"};

bool is_text(JsonValue part) {
  if (part.kind != JsonKind::kObject) return false;
  for (JsonCursor member(part); member.next();) {
    if (member.key() == "type") return member.value().text == "\"text\"";
  }
  return false;
}

bool is_all_text(JsonValue messages) {
  for (JsonCursor message(messages); message.next();) {
    for (JsonCursor member(message.value()); member.next();) {
      if (member.key() != "content" || member.value().kind != JsonKind::kArray) continue;
      for (JsonCursor part(member.value()); part.next();) {
        if (!is_text(part.value())) return false;
      }
    }
  }
  return true;
}

}  // namespace

std::optional<std::string> tokenize_request(const OpenAiRequest& request, std::string_view model) {
  if (!request.prompt_ids.empty() || request.prompt_is_batch) return std::nullopt;
  const bool is_chat = request.api == Api::kChat;
  if (is_chat) {
    const JsonField* messages = request.fields.find("messages");
    if (messages == nullptr || !is_all_text(value_of(*messages, request.body))) return std::nullopt;
  }
  std::string body = R"({"model":)" + json_quote(model);
  const auto add = [&](std::string_view key) {
    const JsonField* field = request.fields.find(key);
    if (field == nullptr || field->kind == JsonKind::kNull) return;
    body += ",\"";
    body += key;
    body += "\":";
    body += value_of(*field, request.body).text;
  };
  if (is_chat) {
    for (const std::string_view key : kChatKeys) add(key);
  } else {
    for (const std::string_view key : kCompletionKeys) add(key);
  }
  return body + "}";
}

}  // namespace baton::adapters
