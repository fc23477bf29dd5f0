#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "adapters/engines/connector.h"

namespace baton::adapters {

// What connectors of OpenAI servers have in common.

inline constexpr std::string_view kTransferParams = "kv_transfer_params";

[[nodiscard]] std::string target_of(Api api);

// The client's request with changes, under the name that the pods have for the model.
[[nodiscard]] LegRequest patched_leg(const OpenAiRequest& request, const HandoffKey& key,
                                     JsonPatch patch);

// Makes a prefill leg of a request: one token, no stream, and nothing that contradicts that.
void limit_to_prefill(JsonPatch& patch, const OpenAiRequest& request);

// The same without changes: byte for byte as it came, but for the model's name.
[[nodiscard]] LegRequest client_leg(const OpenAiRequest& request, const HandoffKey& key);

// Whether the client gave the field, as something other than null or false.
[[nodiscard]] bool is_set(const OpenAiRequest& request, std::string_view key);

// Why a prompt's KV cannot be handed over by any engine: it would have to go to several readers, or
// the decode pod would have to tell what only prefill knows. Empty: it can.
[[nodiscard]] std::string refuses_handoff(const OpenAiRequest& request);

// What is wrong with the body of a good answer without a stream: that it is no JSON object, tells
// of an error all the same, or has no `choices`. Empty: nothing.
[[nodiscard]] std::string_view fault_in_answer(std::string_view body);

// The object `error` of an answer, or the answer where it is one by itself, as SGLang and
// TensorRT-LLM write it (`"object":"error"`); null where there is none.
[[nodiscard]] nlohmann::json error_in(std::string_view body);
// What that says, or the status where it says nothing. The stage is the leg's.
[[nodiscard]] Error read_openai_error(unsigned status, const nlohmann::json& said, Stage leg);

}  // namespace baton::adapters
