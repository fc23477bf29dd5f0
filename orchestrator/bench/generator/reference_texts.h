#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "orchestrator/bench/generator/reference_server.h"

namespace baton::orchestrator::bench {

// What a request to the reference server asks for.
struct ReferenceAsk {
  TimePoint received;
  bool chat = true;
  bool stream = false;
  std::int64_t id = -1;
  int prompt_tokens = 0;
  ReferenceTiming timing;
};

// Errors: kInvalidArgument.
[[nodiscard]] Result<ReferenceAsk> read_reference_ask(std::string_view body, bool chat,
                                                      const ReferenceTiming& defaults);

// Bodies and events, as vLLM forms them. Built once a server; immutable.
class ReferenceTexts {
 public:
  explicit ReferenceTexts(std::string_view model);

  [[nodiscard]] const std::string& token_event(bool chat) const {
    return chat ? chat_token_ : text_token_;
  }
  [[nodiscard]] const std::string& role_event() const { return role_; }
  [[nodiscard]] std::string usage_event(const ReferenceAsk& ask) const;
  [[nodiscard]] std::string whole_answer(const ReferenceAsk& ask) const;
  [[nodiscard]] const std::string& models() const { return models_; }
  // Errors: kInvalidArgument.
  [[nodiscard]] static Result<std::string> tokenized(std::string_view body);

 private:
  [[nodiscard]] std::string head(std::string_view object) const;

  std::string model_;  // quoted
  std::string chat_token_;
  std::string text_token_;
  std::string role_;
  std::string models_;
};

}  // namespace baton::orchestrator::bench
