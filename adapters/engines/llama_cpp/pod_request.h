#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/llama_cpp/chat_template.h"
#include "adapters/engines/llama_cpp/engine.h"
#include "core/error.h"
#include "core/openai_request.h"

namespace baton::adapters {

// The names under which a pod answers.
struct ServedModels {
  std::vector<std::string> base;   // the model's names, the first one is reported; never empty
  std::vector<std::string> loras;  // in the order of EngineOptions::loras
  // Index of the adapter, -1 for the base model, none for an unknown name.
  [[nodiscard]] std::optional<int> lora_of(std::string_view name) const;
};

// One checked request to /v1/chat/completions or /v1/completions. The prompt is one of `chat`,
// `text` and `ids`.
struct PodRequest {
  Api api = Api::kChat;
  std::string model;  // as the client wrote it
  int lora = -1;
  std::optional<ChatPrompt> chat;
  std::string text;
  std::vector<TokenId> ids;
  SamplingParams sampling;        // max_tokens is set once the prompt's length is known
  std::optional<int> max_tokens;  // what the client asked for
  std::vector<std::string> stop;
  bool stream = false;
  bool include_usage = false;
  std::string cache_salt;
  // The leg of a hand-off that is asked for (`kv_transfer_params.baton`), if any.
  std::optional<TransferId> producer;
  std::optional<HandoffSource> consumer;
};

// Parses and checks the body. Errors: kInvalidArgument or kNotFound (model), `param` names the
// field.
[[nodiscard]] Result<PodRequest> parse_pod_request(Api api, std::string_view body,
                                                   const ServedModels& models);

// POST /tokenize, as vLLM has it: a text or messages.
struct TokenizeRequest {
  std::optional<ChatPrompt> chat;
  std::string text;
  bool add_special = true;
  bool want_strings = false;
};
[[nodiscard]] Result<TokenizeRequest> parse_tokenize_request(std::string_view body,
                                                             const ServedModels& models);

}  // namespace baton::adapters
