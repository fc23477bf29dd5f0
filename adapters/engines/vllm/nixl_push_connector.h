#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// vLLM's NixlPushConnector, where the prefill server writes the blocks into the decode server's
// cache: both get their leg at once, and the decode server makes itself known to the prefill
// server, whose engine id, address and ranks it must be told before there is an answer of it.
// They are learnt by a probe. Source: vLLM 0.32.0, kv_connector/v1/nixl/push_scheduler.py and
// push_worker.py.
//
// The prefill server finds the decode server's blocks by the request id without its random end
// (push_worker.py:398). Two requests of one id would be written into each other's blocks, so that
// each hand-off has an id of its own. A decode server whose prefill failed waits minutes
// (`push_registration_timeout`), unless it is cancelled.
class VllmNixlPushConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "vllm-nixl-push"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kConcurrent; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  // Errors: kUnavailable at the hand-off where the prefill pod's engine is not known yet.
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  // Errors: kCorrupt at the hand-off where the answer is not of the engine that the decode server
  // waits for (a pod that was started anew), or not of this prompt.
  [[nodiscard]] Result<void> check_prefill(const OpenAiRequest& request, const Plan& plan,
                                           const PrefillResponse& prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  // There is no release: a decode server that refuses a request tells the prefill server nothing
  // in this mode (push_scheduler.py:228), whose lease is the bound.
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  [[nodiscard]] bool may_fail_in_stream() const override { return true; }
  [[nodiscard]] bool counts_fetched_as_cached() const override { return true; }
  [[nodiscard]] std::vector<FactsTarget> facts_targets(const Pod& pod) const override;
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod& pod,
                                               std::span<const std::string> bodies) const override;
  [[nodiscard]] std::optional<LegRequest> probe(const Pod& pod,
                                                std::string_view model) const override;
  [[nodiscard]] Result<void> read_probe(const Pod& pod, unsigned status, std::string_view body,
                                        EngineFacts& facts) const override;
};

}  // namespace baton::adapters
