#include "orchestrator/bench/generator/reference_texts.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "core/json_cursor.h"
#include "core/json_fields.h"

namespace baton::orchestrator::bench {
namespace {

constexpr int kDefaultTokens = 16;
constexpr std::int64_t kMostTokens = 1 << 20;

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, std::move(message));
}

std::optional<std::int64_t> number_after(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::int64_t value = 0;
  const char* const from = text.data() + at + key.size();
  const auto [end, failure] = std::from_chars(from, text.data() + text.size(), value);
  if (failure != std::errc() || value < 0) return std::nullopt;
  return value;
}

// What the prompt says of its own answer, up to the end of its line.
void read_directive(std::string_view body, ReferenceAsk& ask) {
  const std::size_t at = body.find("reference id=");
  if (at == std::string_view::npos) return;
  std::string_view text = body.substr(at);
  text = text.substr(0, text.find_first_of("\\\""));
  ask.id = number_after(text, " id=").value_or(-1);
  if (const auto us = number_after(text, " ttft_us=")) {
    ask.timing.ttft = std::chrono::microseconds(*us);
  }
  if (const auto us = number_after(text, " gap_us=")) {
    ask.timing.gap = std::chrono::microseconds(*us);
  }
  if (const auto n = number_after(text, " tokens=")) ask.timing.tokens = static_cast<int>(*n);
}

int bytes_of_messages(JsonValue messages) {
  int bytes = 0;
  JsonCursor turns(messages);
  while (turns.next()) {
    if (turns.value().kind != JsonKind::kObject) continue;
    JsonCursor members(turns.value());
    while (members.next()) {
      if (members.key_literal() != R"("content")") continue;
      if (members.value().kind != JsonKind::kString) continue;
      bytes += static_cast<int>(json_unquote(members.value().text).size());
    }
  }
  return bytes;
}

int elements_of(JsonValue array) {
  int count = 0;
  for (JsonCursor elements(array); elements.next();) ++count;
  return count;
}

int tokens_of(const JsonFields& fields, std::string_view body) {
  for (const std::string_view key : {"messages", "prompt", "content"}) {
    const JsonField* field = fields.find(key);
    if (field == nullptr) continue;
    const JsonValue value = value_of(*field, body);
    if (value.kind == JsonKind::kString) return static_cast<int>(json_unquote(value.text).size());
    if (value.kind != JsonKind::kArray) return 0;
    return key == "messages" ? bytes_of_messages(value) : elements_of(value);
  }
  return 0;
}

int asked_tokens(const JsonFields& fields, std::string_view body) {
  for (const std::string_view key : {"max_completion_tokens", "max_tokens"}) {
    const JsonField* field = fields.find(key);
    if (field == nullptr || field->kind != JsonKind::kNumber) continue;
    const auto asked = number_after(value_of(*field, body).text, "");
    if (asked && *asked <= kMostTokens) return static_cast<int>(*asked);
  }
  return kDefaultTokens;
}

std::string usage_json(const ReferenceAsk& ask) {
  return fmt::format(R"("usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":0}}}})",
                     ask.prompt_tokens, ask.timing.tokens, ask.prompt_tokens + ask.timing.tokens);
}

std::string event(const std::string& json) { return "data: " + json + "\n\n"; }

}  // namespace

Result<ReferenceAsk> read_reference_ask(std::string_view body, bool chat,
                                        const ReferenceTiming& defaults) {
  const Result<JsonFields> fields = JsonFields::scan(body);
  if (!fields) return std::unexpected(fields.error());
  if (fields->find(chat ? "messages" : "prompt") == nullptr) {
    return bad(chat ? "no messages" : "no prompt");
  }
  ReferenceAsk ask;
  ask.chat = chat;
  ask.timing = defaults;
  if (const JsonField* stream = fields->find("stream")) {
    ask.stream = stream->kind == JsonKind::kTrue;
  }
  ask.prompt_tokens = tokens_of(*fields, body);
  read_directive(body, ask);
  if (ask.timing.tokens == 0) ask.timing.tokens = asked_tokens(*fields, body);
  return ask;
}

ReferenceTexts::ReferenceTexts(std::string_view model) : model_(json_quote(model)) {
  chat_token_ = event(head("chat.completion.chunk") +
                      R"("choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,)"
                      R"("finish_reason":null}]})");
  text_token_ =
      event(head("text_completion") +
            R"("choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}]})");
  role_ = event(head("chat.completion.chunk") +
                R"("choices":[{"index":0,"delta":{"role":"assistant","content":""},)"
                R"("logprobs":null,"finish_reason":null}]})");
  models_ =
      fmt::format(R"({{"object":"list","data":[{{"id":{0},"object":"model","created":0,)"
                  R"("owned_by":"baton","root":{0},"parent":null,"max_model_len":1048576}}]}})",
                  model_);
}

std::string ReferenceTexts::head(std::string_view object) const {
  return fmt::format(R"({{"id":"reference","object":"{}","created":0,"model":{},)", object, model_);
}

std::string ReferenceTexts::usage_event(const ReferenceAsk& ask) const {
  return event(head(ask.chat ? "chat.completion.chunk" : "text_completion") + R"("choices":[],)" +
               usage_json(ask) + "}");
}

std::string ReferenceTexts::whole_answer(const ReferenceAsk& ask) const {
  const std::string text(static_cast<std::size_t>(ask.timing.tokens), 'a');
  const std::string choice = ask.chat
                                 ? R"("message":{"role":"assistant","content":")" + text + R"("})"
                                 : R"("text":")" + text + "\"";
  return head(ask.chat ? "chat.completion" : "text_completion") + R"("choices":[{"index":0,)" +
         choice + R"(,"logprobs":null,"finish_reason":"length"}],)" + usage_json(ask) + "}";
}

Result<std::string> ReferenceTexts::tokenized(std::string_view body) {
  const Result<JsonFields> fields = JsonFields::scan(body);
  if (!fields) return std::unexpected(fields.error());
  std::string text;
  for (const std::string_view key : {"prompt", "content"}) {
    const JsonField* field = fields->find(key);
    if (field == nullptr || field->kind != JsonKind::kString) continue;
    text = json_unquote(value_of(*field, body).text);
  }
  if (const JsonField* messages = fields->find("messages");
      messages != nullptr && messages->kind == JsonKind::kArray) {
    text.assign(static_cast<std::size_t>(bytes_of_messages(value_of(*messages, body))), 'a');
  }
  std::string tokens;
  for (const char c : text) {
    if (!tokens.empty()) tokens += ',';
    tokens += std::to_string(static_cast<unsigned char>(c));
  }
  return fmt::format(R"({{"count":{},"max_model_len":1048576,"tokens":[{}]}})", text.size(),
                     tokens);
}

}  // namespace baton::orchestrator::bench
