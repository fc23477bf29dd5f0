#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/gguf_tokenizer.h"
#include "adapters/engines/llama_cpp/pod_request.h"
#include "core/error.h"
#include "core/openai_request.h"

namespace baton::adapters {

// What every object of one answer says of it.
struct AnswerHead {
  Api api = Api::kChat;
  std::string id;  // chatcmpl-… or cmpl-…
  std::string model;
  std::int64_t created = 0;  // Unix seconds
};

// Some text of an answer with the logprobs (JSON, or empty) of its tokens.
struct AnswerPiece {
  std::string text;
  std::string logprobs;
};

[[nodiscard]] std::string_view name_of(FinishReason reason);

// A whole answer. `extra` is further members with a leading comma, or empty.
[[nodiscard]] std::string completion_body(const AnswerHead& head, const AnswerPiece& answer,
                                          FinishReason reason, const EngineUsage& usage,
                                          std::string_view extra = {});

// Server-sent events of one stream, each with its "data: " and its empty line. With `usage_wanted`
// every chunk has a member `usage`, null in all but the last, as OpenAI has it.
class StreamFormat {
 public:
  StreamFormat(AnswerHead head, bool usage_wanted);
  [[nodiscard]] std::string opening() const;  // the assistant's role; empty for completions
  [[nodiscard]] std::string piece(const AnswerPiece& piece) const;
  [[nodiscard]] std::string finish(const AnswerPiece& rest, FinishReason reason) const;
  [[nodiscard]] std::string usage(const EngineUsage& usage) const;
  [[nodiscard]] static std::string done();

 private:
  [[nodiscard]] std::string event(std::string_view choices, std::string_view usage) const;
  AnswerHead head_;
  bool usage_wanted_;
  std::string prefix_;  // up to "choices":
};

// Gathers the logprobs of tokens in the API's own form until they are taken with the next piece.
class LogprobWriter {
 public:
  LogprobWriter(Api api, bool wanted, const GgufTokenizer& tokenizer)
      : api_(api), wanted_(wanted), tokenizer_(tokenizer) {}
  void add(const EngineToken& token);
  // JSON of the tokens since the last call; empty where none are wanted or none came.
  [[nodiscard]] std::string take();

 private:
  void add_chat(const EngineToken& token);
  void add_completion(const EngineToken& token);
  Api api_;
  bool wanted_;
  const GgufTokenizer& tokenizer_;
  std::string entries_;                            // chat
  std::string tokens_, logprobs_, top_, offsets_;  // completions
  std::size_t offset_ = 0;                         // characters of the answer so far
};

// OpenAI's error object with `stage` and `retryable`; `status` is http_status_of the code.
[[nodiscard]] std::string error_body(const Error& error);
[[nodiscard]] std::string error_event(const Error& error);

// The value of x-baton-timing.
[[nodiscard]] std::string timing_json(const EngineUsage& usage, const EngineTimes& times);

}  // namespace baton::adapters
