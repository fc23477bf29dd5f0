#include "adapters/engines/llama_cpp/pod_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/pod_text.h"
#include "core/json_fields.h"

namespace baton::adapters {
namespace {

std::string or_null(const std::string& json) { return json.empty() ? "null" : json; }

std::string usage_json(const EngineUsage& usage) {
  return fmt::format(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                     usage.prompt_tokens, usage.completion_tokens,
                     usage.prompt_tokens + usage.completion_tokens, usage.cached_tokens);
}

std::string head_json(const AnswerHead& head, std::string_view object) {
  return fmt::format(R"({{"id":{},"object":"{}","created":{},"model":{},"choices":)",
                     json_quote(head.id), object, head.created, json_quote(head.model));
}

// JSON has no infinity; -9999 stands for it, as in vLLM.
std::string logprob_json(float logprob) {
  return fmt::format("{:.6g}", std::max(logprob, -9999.0F));
}

std::string chat_entry(std::string_view bytes, float logprob) {
  std::string list;
  for (const char c : bytes) {
    list += fmt::format("{}{}", list.empty() ? "" : ",", static_cast<unsigned char>(c));
  }
  return fmt::format(R"("token":{},"logprob":{},"bytes":[{}])", json_quote(to_valid_utf8(bytes)),
                     logprob_json(logprob), list);
}

void append(std::string& list, std::string_view item) {
  if (!list.empty()) list += ',';
  list += item;
}

std::string_view type_of(const Error& error) {
  if (error.stage == Stage::kHandoff) return "handoff_error";
  const unsigned status = http_status_of(error.code);
  return status >= 400 && status < 500 ? "invalid_request_error" : "server_error";
}

}  // namespace

std::string_view name_of(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

std::string completion_body(const AnswerHead& head, const AnswerPiece& answer, FinishReason reason,
                            const EngineUsage& usage, std::string_view extra) {
  const bool chat = head.api == Api::kChat;
  const std::string content = chat ? fmt::format(R"("message":{{"role":"assistant","content":{}}})",
                                                 json_quote(answer.text))
                                   : fmt::format(R"("text":{})", json_quote(answer.text));
  return fmt::format(R"({}[{{"index":0,{},"logprobs":{},"finish_reason":"{}"}}],"usage":{}{}}})",
                     head_json(head, chat ? "chat.completion" : "text_completion"), content,
                     or_null(answer.logprobs), name_of(reason), usage_json(usage), extra);
}

StreamFormat::StreamFormat(AnswerHead head, bool usage_wanted)
    : head_(std::move(head)),
      usage_wanted_(usage_wanted),
      prefix_(head_json(head_,
                        head_.api == Api::kChat ? "chat.completion.chunk" : "text_completion")) {}

std::string StreamFormat::event(std::string_view choices, std::string_view usage) const {
  return fmt::format("data: {}[{}]{}{}}}\n\n", prefix_, choices,
                     usage_wanted_ ? R"(,"usage":)" : "", usage_wanted_ ? usage : "");
}

std::string StreamFormat::opening() const {
  if (head_.api != Api::kChat) return {};
  return event(R"({"index":0,"delta":{"role":"assistant","content":""},)"
               R"("logprobs":null,"finish_reason":null})",
               "null");
}

std::string StreamFormat::piece(const AnswerPiece& piece) const {
  const std::string text = json_quote(piece.text);
  const std::string content = head_.api == Api::kChat
                                  ? fmt::format(R"("delta":{{"content":{}}})", text)
                                  : fmt::format(R"("text":{})", text);
  return event(fmt::format(R"({{"index":0,{},"logprobs":{},"finish_reason":null}})", content,
                           or_null(piece.logprobs)),
               "null");
}

std::string StreamFormat::finish(const AnswerPiece& rest, FinishReason reason) const {
  std::string content;
  if (head_.api != Api::kChat) {
    content = fmt::format(R"("text":{})", json_quote(rest.text));
  } else if (rest.text.empty()) {
    content = R"("delta":{})";
  } else {
    content = fmt::format(R"("delta":{{"content":{}}})", json_quote(rest.text));
  }
  return event(fmt::format(R"({{"index":0,{},"logprobs":{},"finish_reason":"{}"}})", content,
                           or_null(rest.logprobs), name_of(reason)),
               "null");
}

std::string StreamFormat::usage(const EngineUsage& usage) const {
  return event({}, usage_json(usage));
}

std::string StreamFormat::done() { return "data: [DONE]\n\n"; }

void LogprobWriter::add(const EngineToken& token) {
  if (!wanted_) return;
  if (api_ == Api::kChat) {
    add_chat(token);
  } else {
    add_completion(token);
  }
}

void LogprobWriter::add_chat(const EngineToken& token) {
  std::string top;
  for (const TokenLogprob& other : token.top) {
    append(top, fmt::format("{{{}}}", chat_entry(tokenizer_.piece(other.id), other.logprob)));
  }
  append(
      entries_,
      fmt::format(R"({{{},"top_logprobs":[{}]}})",
                  chat_entry(tokenizer_.piece(token.id), token.logprob.value_or(-9999.0F)), top));
}

void LogprobWriter::add_completion(const EngineToken& token) {
  const std::string text = to_valid_utf8(tokenizer_.piece(token.id));
  const float logprob = token.logprob.value_or(-9999.0F);
  std::string top;
  std::set<std::string> named;
  const auto add_top = [&](const std::string& name, float value) {
    if (named.insert(name).second) {
      append(top, fmt::format("{}:{}", json_quote(name), logprob_json(value)));
    }
  };
  for (const TokenLogprob& other : token.top) {
    add_top(to_valid_utf8(tokenizer_.piece(other.id)), other.logprob);
  }
  add_top(text, logprob);  // the chosen one is there even where it is not among the best
  append(tokens_, json_quote(text));
  append(logprobs_, logprob_json(logprob));
  append(top_, fmt::format("{{{}}}", top));
  append(offsets_, std::to_string(offset_));
  offset_ += count_characters(text);
}

std::string LogprobWriter::take() {
  if (api_ == Api::kChat) {
    if (entries_.empty()) return {};
    return fmt::format(R"({{"content":[{}],"refusal":null}})", std::exchange(entries_, {}));
  }
  if (tokens_.empty()) return {};
  return fmt::format(
      R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}})",
      std::exchange(tokens_, {}), std::exchange(logprobs_, {}), std::exchange(top_, {}),
      std::exchange(offsets_, {}));
}

std::string error_body(const Error& error) {
  const bool no_model = error.code == ErrorCode::kNotFound && error.param == "model";
  return fmt::format(
      R"({{"error":{{"message":{},"type":"{}","param":{},"code":"{}","stage":"{}","retryable":{}}}}})",
      json_quote(error.message), type_of(error),
      error.param.empty() ? "null" : json_quote(error.param),
      no_model ? "model_not_found" : name_of(error.code), name_of(error.stage), error.retryable);
}

std::string error_event(const Error& error) { return "data: " + error_body(error) + "\n\n"; }

std::string timing_json(const EngineUsage& usage, const EngineTimes& times) {
  return fmt::format(
      R"({{"queue_ms":{:.3f},"prefill_ms":{:.3f},"exposed_transfer_ms":{:.3f},)"
      R"("first_step_ms":{:.3f},"first_token_ms":{:.3f},"kv_bytes":{},"kv_blocks":{},)"
      R"("kv_held_blocks":{},"transport":{}}})",
      to_ms(times.queue), to_ms(times.prefill), to_ms(times.exposed_transfer),
      to_ms(times.first_step), to_ms(times.first_token), usage.received_bytes.count(),
      usage.received_blocks, usage.held_blocks, json_quote(usage.transport));
}

}  // namespace baton::adapters
