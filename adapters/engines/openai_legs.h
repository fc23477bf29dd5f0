#pragma once

#include <string>
#include <string_view>

#include "adapters/engines/connector.h"

namespace baton::adapters {

// What connectors of OpenAI servers have in common.

inline constexpr std::string_view kTransferParams = "kv_transfer_params";

[[nodiscard]] std::string target_of(Api api);

// Names the model as the pods do, where that is not as the client did.
void set_model(JsonPatch& patch, const HandoffKey& key);

// Makes a prefill leg of a request: one token, no stream, and nothing that contradicts that.
void limit_to_prefill(JsonPatch& patch, const OpenAiRequest& request);

// The client's request for another model name, else byte for byte as it came.
[[nodiscard]] LegRequest client_leg(const OpenAiRequest& request, const HandoffKey& key);

// Why a prompt's KV cannot be handed over by any engine: it would have to go to several readers, or
// the decode pod would have to tell what only prefill knows. Empty: it can.
[[nodiscard]] std::string refuses_handoff(const OpenAiRequest& request);

// An error answer in OpenAI's shape, or whatever the status says. Its stage is the leg's.
[[nodiscard]] Error read_openai_error(unsigned status, std::string_view body, Stage leg);

}  // namespace baton::adapters
