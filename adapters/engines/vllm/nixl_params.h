#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/connector.h"

namespace baton::adapters {

// What connectors of vLLM's servers have in common. Source: vLLM 0.32.0,
// distributed/kv_transfer/kv_connector/v1.

namespace nixl {

// Who moves the blocks: the decode server (NixlConnector) or the prefill server
// (NixlPushConnector). The two cannot be mixed.
enum class Mode : std::uint8_t { kPull, kPush };

// What a prefill server answered, as far as the hand-off goes. Borrows the answer's text.
struct Offer {
  std::string_view params;          // its kv_transfer_params; empty: none
  std::int64_t prompt_tokens = -1;  // as its usage counts; -1: it does not say
};
// Errors: kUpstream at the hand-off, it is no JSON object.
[[nodiscard]] Result<Offer> read_offer(std::string_view body);

// A key without which the decode server's engine would end in a KeyError, with all that runs there
// (nixl/metadata.py: add_new_req_to_recv); empty: all are there.
[[nodiscard]] std::string_view missing_key(const Offer& offer);

// Whether the blocks can be those of this prompt: a decode server trusts them. Errors: kCorrupt at
// the hand-off.
[[nodiscard]] Result<void> check_offer(const Offer& offer, const OpenAiRequest& request,
                                       const EngineFacts& facts);
// The engine that the offer names; empty: none.
[[nodiscard]] std::string engine_of(const Offer& offer);

[[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const HandoffKey& key);
[[nodiscard]] LegAction on_leg_failure(const Error& error);
// A decode server's 500 is a failed hand-off (kv_load_failure_policy `fail`).
[[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg);

// One token's prefill, for pods that prefill. Its block is given back as a request's are, where the
// mode has a way; else it stays pinned for the server's lease (30 s).
[[nodiscard]] std::optional<LegRequest> probe(const Pod& pod, std::string_view model);
// Reads engine id, address and ranks from its answer into `facts`. Not retryable: the server hands
// nothing over, or in the other mode.
[[nodiscard]] Result<void> read_probe(Mode mode, unsigned status, std::string_view body,
                                      EngineFacts& facts);

}  // namespace nixl

// /version and /v1/models, and what they say: version and longest context.
[[nodiscard]] std::vector<FactsTarget> vllm_facts_targets();
[[nodiscard]] Result<EngineFacts> read_vllm_facts(std::span<const std::string> bodies);

}  // namespace baton::adapters
