#pragma once

#include <string>
#include <string_view>

#include "adapters/engines/connector.h"

namespace baton::adapters {

// The protocol of Baton's own pods. Both legs go out at once under one transfer id that the router
// draws; the decode pod follows the prefill pod's lease and pulls blocks while prefill still runs.
// The legs' parameters travel in the body, under kv_transfer_params.baton.
class BatonConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "baton"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kConcurrent; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  [[nodiscard]] std::optional<Release> release(const Plan& plan, const HandoffKey& key,
                                               const PrefillResponse* prefill) const override;
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
  [[nodiscard]] std::vector<FactsTarget> facts_targets(const Pod& /*pod*/) const override {
    return {{"/baton/facts"}};
  }
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod& pod,
                                               std::span<const std::string> bodies) const override;
};

}  // namespace baton::adapters
