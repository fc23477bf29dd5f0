#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// TensorRT-LLM's context and generation servers (`trtllm-serve`), context first: the context
// server answers with `disaggregated_params`, which say where the blocks are and what the first
// token is, and with the prompt's ids; both go to the generation server. Source: TensorRT-LLM 1.3
// (2026), tensorrt_llm/serve/openai_disagg_service.py, openai_protocol.py and openai_server.py.
//
// Its requests refuse members that it does not know (`extra="forbid"`, openai_protocol.py), so
// that nothing is sent but what the version's own answer shows that it knows. There is no way to
// give blocks back that nobody fetches: the engine's `kv_transfer_timeout_ms` is the bound.
class TrtllmConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "trtllm"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kSequential; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  // Errors: kCorrupt at the hand-off where the parameters are not this request's.
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  // A request that ended with its first token needs no generation server (_need_gen in
  // openai_disagg_service.py). The client gets it without the members meant for that server.
  [[nodiscard]] Result<std::optional<WholeAnswer>> whole_answer(
      const OpenAiRequest& request, const PrefillResponse& prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  // The server answers 400 for whatever failed in it: the message tells a transfer's failure.
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  // A transfer that fails ends a stream that was begun, before its first event.
  [[nodiscard]] bool may_fail_in_stream() const override { return true; }
  // Where the version does not take it over from the context server by itself (`ctx_usage`).
  [[nodiscard]] bool counts_fetched_as_cached() const override { return true; }
  [[nodiscard]] std::vector<FactsTarget> facts_targets(const Pod& pod) const override;
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod& pod,
                                               std::span<const std::string> bodies) const override;
  // Served where the engine runs with `return_perf_metrics`; /metrics is something else there.
  [[nodiscard]] std::string metrics_target() const override { return "/prometheus/metrics"; }
};

}  // namespace baton::adapters
