#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/engines/llama_cpp/chat_template.h"
#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/gguf_tokenizer.h"
#include "adapters/engines/llama_cpp/pod_metrics.h"
#include "adapters/engines/llama_cpp/pod_request.h"
#include "adapters/engines/llama_cpp/pod_response.h"
#include "adapters/engines/llama_cpp/pod_text.h"
#include "adapters/http/server.h"

namespace baton::adapters {

// What the HTTP side of a pod works with. Owned by the pod; outlives every exchange.
struct PodParts {
  std::shared_ptr<Engine> engine;
  std::shared_ptr<GgufTokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  ServedModels models;
  EngineFacts facts;  // with the address of the hand-off service
  PodMetrics* metrics = nullptr;
  kv::Node* node = nullptr;  // null: no hand-off
};

// The text of an answer as it grows: pieces become characters, stop strings end it. A value of one
// answer.
class AnswerText {
 public:
  AnswerText(const PodRequest& request, const GgufTokenizer& tokenizer);
  void add(const EngineToken& token);
  // True once a stop string was found; nothing after it is shown.
  [[nodiscard]] bool stopped() const { return stops_.stopped(); }
  [[nodiscard]] int tokens() const { return tokens_; }
  [[nodiscard]] bool has_text() const { return !ready_.empty(); }
  [[nodiscard]] AnswerPiece take();    // what may be sent now
  [[nodiscard]] AnswerPiece finish();  // the rest, at the end

 private:
  Utf8Stream characters_;
  StopMatcher stops_;
  LogprobWriter logprobs_;
  std::string ready_;
  int tokens_ = 0;
};

// Sends an error in OpenAI's shape.
http::Task<void> send_error(http::Exchange& exchange, Error error);

// Runs one checked request on the engine and answers it: whole, as a stream, or as the prefill leg
// of a hand-off. A client that leaves, or a coroutine that is destroyed, cancels it on the engine.
http::Task<void> answer(http::Exchange& exchange, PodParts& parts, PodRequest request,
                        std::vector<TokenId> prompt, TimePoint arrived);

}  // namespace baton::adapters
