#pragma once

#include "adapters/engines/connector.h"

namespace baton::adapters {

// Any OpenAI server that computes a request from beginning to end: nothing is handed over.
class PlainConnector final : public Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "plain"; }
  [[nodiscard]] Dispatch dispatch() const override { return Dispatch::kSequential; }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest& request) const override;
  [[nodiscard]] Result<LegRequest> prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key) const override;
  [[nodiscard]] Result<LegRequest> decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key,
                                              const PrefillResponse* prefill) const override;
  [[nodiscard]] LegAction on_leg_failure(const Error& error) const override;
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override;
};

}  // namespace baton::adapters
