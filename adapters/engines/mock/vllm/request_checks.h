#pragma once

#include <optional>

#include "adapters/engines/mock/dress.h"
#include "core/openai_request.h"

namespace baton::adapters::mock::vllm {

// What vLLM 0.32.0 says to a wrong request, stage by stage; nothing: it goes on. Messages are the
// engine's own where it writes them itself.

// The parsed body: its validators in their order, then the types
// (entrypoints/openai/completion/protocol.py, chat_completion/protocol.py). Types that the lax mode
// takes for others are put right in `body`.
[[nodiscard]] std::optional<Answer> check_body(Api api, Json& body);

// A conversation that no template takes (renderers/hf.py), or with parts of unknown types.
[[nodiscard]] std::optional<Answer> check_conversation(const Json& body);
// renderers/params.py: the prompt's truncation must keep within the context.
[[nodiscard]] std::optional<Answer> check_truncation(const Json& body, Tokens max_model_len);

// SamplingParams._verify_args (sampling_params.py:631), after the limits of the prompt are known.
[[nodiscard]] std::optional<Answer> check_sampling(Api api, const Json& body, int max_tokens);

// What the engine's input processor refuses, which a stream learns of only within it
// (v1/engine/input_processor.py, sampling_params.py:908).
[[nodiscard]] std::optional<Answer> check_in_engine(Api api, const Json& body, TokenId vocabulary,
                                                    int ranks, std::optional<int> rank);

}  // namespace baton::adapters::mock::vllm
