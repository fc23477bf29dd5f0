#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// vLLM's MooncakeConnector: both servers get their leg at once and meet under a `transfer_id`; the
// decode server finds the prefill server through the bootstrap server beside it, which tells the
// engine id of each data-parallel rank. Source: vLLM 0.32.0, kv_connector/v1/mooncake/
// mooncake_connector.py and mooncake_utils.py.
//
// Nothing tells a decode server that its prefill failed: it waits 480 s unless it is cancelled.
// A producer that is told to fetch (or a consumer that is told to keep) fails an assertion, which
// ends the engine (mooncake_connector.py:1022, 1075): such legs go by the pods' roles alone, and a
// pod of the role `both` must run as `kv_both`.
class VllmMooncakeConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "vllm-mooncake"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kConcurrent; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  // Nothing that could end the request but its one token: the blocks of one that stopped are freed
  // at once (mooncake_connector.py:1150).
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  // Errors: kUnavailable at the hand-off where the prefill pod's engine is not known yet.
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  // Errors: kCorrupt at the hand-off where the request ended otherwise, and kept no blocks.
  [[nodiscard]] Result<void> check_prefill(const OpenAiRequest& request, const Plan& plan,
                                           const PrefillResponse& prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  // There is no release: a decode leg that was sent fetches the blocks even if it is cancelled, and
  // frees them if its server refuses it (mooncake_connector.py:1133); to ask for blocks that are
  // gone would occupy the prefill server for minutes. Without a decode leg
  // VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT (480 s) is the bound.
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  [[nodiscard]] bool may_fail_in_stream() const override { return true; }
  [[nodiscard]] bool counts_fetched_as_cached() const override { return true; }
  [[nodiscard]] std::vector<FactsTarget> facts_targets(const Pod& pod) const override;
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod& pod,
                                               std::span<const std::string> bodies) const override;
};

}  // namespace baton::adapters
