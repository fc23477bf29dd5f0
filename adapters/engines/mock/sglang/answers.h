#pragma once

#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/json.h"

namespace baton::adapters::mock::sglang {

// The form of SGLang's answers, member for member in its order: entrypoints/openai/protocol.py
// (CompletionResponse, ChatCompletionResponse), serving_completions.py and serving_chat.py.
struct AnswerForm {
  bool cache_report = false;  // --enable-cache-report

  [[nodiscard]] Json whole(const Work& work) const;
  // The first events of a chat stream: one with the role for each choice.
  [[nodiscard]] std::string opening(const Work& work) const;
  [[nodiscard]] std::string event(const Work& work, const Piece& piece) const;
  [[nodiscard]] std::string closing(const Work& work) const;

 private:
  [[nodiscard]] Json usage(const Work& work) const;
};

// serving_base.py, create_error_response. Type "400" and so on where an HTTPException is the cause.
[[nodiscard]] Answer error_answer(unsigned status, std::string_view type,
                                  const std::string& message);
// The same as an event of a stream (create_streaming_error_response), whose type is the status'
// name in Python.
[[nodiscard]] std::string error_event(const Failure& failure);
// What the engine says of a request that failed in it: 400 or 500.
[[nodiscard]] Failure engine_failure(unsigned status, const std::string& message);

}  // namespace baton::adapters::mock::sglang
