#pragma once

#include <string>

#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/json.h"

namespace baton::adapters::mock::vllm {

// The form of vLLM 0.32.0's answers, member for member in its order
// (entrypoints/openai/completion/serving.py, chat_completion/serving.py).
struct AnswerForm {
  bool prompt_tokens_details = false;
  std::string fingerprint = "vllm-0.32.0-baton000";

  [[nodiscard]] Json whole(const Work& work) const;
  [[nodiscard]] std::string opening(const Work& work) const;
  [[nodiscard]] std::string event(const Work& work, const Piece& piece) const;
  [[nodiscard]] std::string closing(const Work& work) const;

 private:
  [[nodiscard]] Json usage(const Work& work, bool full) const;
  [[nodiscard]] Json chat_choice(const Work& work, std::size_t index) const;
  [[nodiscard]] Json completion_choice(const Work& work, std::size_t index) const;
};

}  // namespace baton::adapters::mock::vllm
