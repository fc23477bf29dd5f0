#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// vLLM's NixlConnector where the decode server pulls: the prefill server keeps a prompt's blocks
// for one reader and a lease (30 s by default), and names them in `kv_transfer_params`, which go to
// the decode server as they are. Source: vLLM 0.32.0, kv_connector/v1/nixl/pull_scheduler.py.
//
// Blocks have one reader and are read once, so that a failed decode leg needs a new prefill. A
// pull that fails is an internal error of the decode server: with a stream, its first event.
class VllmNixlConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "vllm-nixl"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kSequential; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  // Errors: kCorrupt at the hand-off where the blocks that prefill names cannot be this prompt's.
  // A prefill answer without blocks makes the client's own request, with `no_handoff` said.
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  // A request that the decode server refuses before it reaches its engine: it then tells the
  // prefill server that the blocks are not wanted (entrypoints/generate/base/serving.py).
  [[nodiscard]] std::optional<Release> release(const Plan& plan, const HandoffKey& key,
                                               const PrefillResponse* prefill) const override;
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  [[nodiscard]] bool has_lease() const override { return true; }
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
