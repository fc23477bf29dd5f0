#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// SGLang's prefill and decode servers (--disaggregation-mode), whatever moves the blocks between
// them. Both get the same request at once and meet in a `bootstrap_room` of the prefill server: its
// answer comes when the decode server has the blocks, and the decode server waits up to 300 s for
// a prefill that failed, unless it is cancelled. Source: sglang d315eb7 (August 2026),
// python/sglang/srt/disaggregation and sgl-model-gateway/src/routers/http/pd_router.rs.
//
// The prefill server makes the first token, which travels with the blocks, so that all of the
// answer and of its usage is the decode server's; it has the prefill server's `cached_tokens`, too
// (disaggregation/decode.py:2124). Neither kind of server computes a request without a room
// (managers/scheduler.py:2490): what cannot be split needs a pod that runs without the mode.
class SglangConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "sglang"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kConcurrent; }
  // Prompt arrays can be split: the engine gives each a room of its own. Several answers to one
  // prompt cannot, since it would use the prompt's room for all of them
  // (managers/tokenizer_manager.py:1866).
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] bool decode_needs_handoff() const override { return true; }
  // Without a stream, whose status would come before the transfer's end is known; how much it
  // computes the server decides by itself (disaggregation/prefill.py:381).
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  // A request that was aborted on the prefill server without an error ends with 200 there.
  [[nodiscard]] Result<void> check_prefill(const OpenAiRequest& request, const Plan& plan,
                                           const PrefillResponse& prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  // An error that a decode server finds behind its status: as the first event.
  [[nodiscard]] bool may_fail_in_stream() const override { return true; }
  [[nodiscard]] std::vector<FactsTarget> facts_targets(const Pod& pod) const override;
  // Not retryable: a pod whose mode is not that of its role in the configuration.
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod& pod,
                                               std::span<const std::string> bodies) const override;
};

}  // namespace baton::adapters
