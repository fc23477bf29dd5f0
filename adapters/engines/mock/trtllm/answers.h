#pragma once

#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/json.h"

namespace baton::adapters::mock::trtllm {

// The form of TensorRT-LLM's answers, member for member in its order (serve/openai_protocol.py,
// serve/postprocess_handlers.py). `work.handoff` is what a choice says as `disaggregated_params`.
[[nodiscard]] Json whole_answer(const Work& work);
// The first events of a chat stream: one with the role for each choice.
[[nodiscard]] std::string opening_events(const Work& work);
[[nodiscard]] std::string piece_event(const Work& work, const Piece& piece);
[[nodiscard]] std::string closing_events(const Work& work);

// Why a choice ended. A context leg's ends with its first token, which is no end where more was
// asked for (executor/result.py).
[[nodiscard]] Json finish_reason(const Work& work, const Choice& choice);

// serve/openai_server.py, create_error_response: whatever fails in the server is a bad request.
[[nodiscard]] Answer error_answer(const std::string& message, unsigned status = 400);

}  // namespace baton::adapters::mock::trtllm
