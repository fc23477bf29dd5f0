#include "adapters/engines/vllm/nixl_connector.h"

#include <fmt/format.h>

#include "adapters/engines/openai_legs.h"
#include "adapters/engines/vllm/nixl_params.h"

namespace baton::adapters {
namespace {

// No server serves a model of this name.
constexpr std::string_view kNoModel = "baton-gives-blocks-back";

}  // namespace

std::string VllmNixlConnector::refuses_split(const OpenAiRequest& request) const {
  return refuses_handoff(request);
}

Result<LegRequest> VllmNixlConnector::prefill_leg(const OpenAiRequest& request, const Plan&,
                                                  const HandoffKey& key) const {
  return nixl::prefill_leg(request, key);
}

Result<LegRequest> VllmNixlConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                                 const HandoffKey& key,
                                                 const PrefillResponse* prefill) const {
  if (plan.kind == PlanKind::kDecodeOnly || prefill == nullptr) return client_leg(request, key);
  const Result<nixl::Offer> offer = nixl::read_offer(prefill->body);
  if (!offer) return std::unexpected(offer.error());
  if (offer->params.empty()) {
    LegRequest leg = client_leg(request, key);
    leg.no_handoff = "the prefill pod returned no kv_transfer_params";
    return leg;
  }
  if (auto good = nixl::check_offer(*offer, request, plan.prefill->pod.facts); !good) {
    return std::unexpected(good.error());
  }
  JsonPatch patch;
  patch.set(kTransferParams, offer->params);
  return patched_leg(request, key, std::move(patch));
}

LegAction VllmNixlConnector::on_leg_failure(const Error& error) const {
  return nixl::on_leg_failure(error);
}

std::optional<Release> VllmNixlConnector::release(const Plan& plan, const HandoffKey&,
                                                  const PrefillResponse* prefill) const {
  if (prefill == nullptr || plan.decode == nullptr) return std::nullopt;
  const Result<nixl::Offer> offer = nixl::read_offer(prefill->body);
  if (!offer || !nixl::missing_key(*offer).empty()) return std::nullopt;
  Release release;
  release.pod = Stage::kDecode;
  release.status = 404;
  release.request.target = target_of(Api::kCompletions);
  release.request.body = fmt::format(R"({{"model":"{}","prompt":"x","max_tokens":1,"{}":{}}})",
                                     kNoModel, kTransferParams, offer->params);
  return release;
}

Error VllmNixlConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  return nixl::read_error(status, body, leg);
}

std::vector<FactsTarget> VllmNixlConnector::facts_targets(const Pod&) const {
  return vllm_facts_targets();
}

Result<EngineFacts> VllmNixlConnector::read_facts(const Pod&,
                                                  std::span<const std::string> bodies) const {
  return read_vllm_facts(bodies);
}

std::optional<LegRequest> VllmNixlConnector::probe(const Pod& pod, std::string_view model) const {
  return nixl::probe(pod, model);
}

Result<void> VllmNixlConnector::read_probe(const Pod&, unsigned status, std::string_view body,
                                           EngineFacts& facts) const {
  return nixl::read_probe(nixl::Mode::kPull, status, body, facts);
}

}  // namespace baton::adapters
