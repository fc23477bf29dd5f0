#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/openai_request.h"

namespace baton::adapters {

// The body of `POST /tokenize` by which vLLM (entrypoints/serve/tokenize/protocol.py) and SGLang
// (entrypoints/openai/serving_tokenize.py) tell the ids that they would compute for the request:
// its text, or its messages with all that shapes the chat template. None: the request has ids
// already, is several prompts, or has parts that are no text, whose ids say little.
[[nodiscard]] std::optional<std::string> tokenize_request(const OpenAiRequest& request,
                                                          std::string_view model);

}  // namespace baton::adapters
