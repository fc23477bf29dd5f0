#include "adapters/engines/vllm/nixl_push_connector.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapters/engines/openai_legs.h"
#include "adapters/engines/vllm/nixl_params.h"

namespace baton::adapters {
namespace {

// The same for both legs of a hand-off, and for no other.
std::string id_of(const HandoffKey& key) { return key.request_id + "-" + key.transfer_id.str(); }

LegRequest under_own_id(LegRequest leg, const HandoffKey& key) {
  leg.fields.emplace_back("x-request-id", id_of(key));
  return leg;
}

// The id that the prefill server gives the request, but for its random end: both servers' API
// prefixes it, and completions number their prompts (entrypoints/openai/completion/serving.py:177).
std::string engines_id(Api api, const HandoffKey& key) {
  return api == Api::kChat ? "chatcmpl-" + id_of(key) : "cmpl-" + id_of(key) + "-0";
}

std::string consumer_params(const OpenAiRequest& request, const EngineFacts& source,
                            const HandoffKey& key) {
  const std::size_t colon = source.kv_address.rfind(':');
  return fmt::format(
      R"({{"do_remote_prefill":true,"do_remote_decode":false,"remote_engine_id":{},)"
      R"("remote_request_id":{},"remote_host":{},"remote_port":{},"tp_size":{},"pp_size":{}}})",
      json_quote(source.engine_id), json_quote(engines_id(request.api, key)),
      json_quote(source.kv_address.substr(0, colon)), source.kv_address.substr(colon + 1),
      std::max(source.tensor_parallel, 1), std::max(source.pipeline_parallel, 1));
}

}  // namespace

std::string VllmNixlPushConnector::refuses_split(const OpenAiRequest& request) const {
  return refuses_handoff(request);
}

Result<LegRequest> VllmNixlPushConnector::prefill_leg(const OpenAiRequest& request, const Plan&,
                                                      const HandoffKey& key) const {
  auto leg = nixl::prefill_leg(request, key);
  return leg ? under_own_id(std::move(*leg), key) : leg;
}

Result<LegRequest> VllmNixlPushConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                                     const HandoffKey& key,
                                                     const PrefillResponse*) const {
  if (plan.kind == PlanKind::kDecodeOnly) return client_leg(request, key);
  const Pod& source = plan.prefill->pod;
  if (source.facts.engine_id.empty() || source.facts.kv_address.find(':') == std::string::npos) {
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                "pod " + source.name + " has told no hand-off address", true);
  }
  JsonPatch patch;
  patch.set(kTransferParams, consumer_params(request, source.facts, key));
  return under_own_id(patched_leg(request, key, std::move(patch)), key);
}

Result<void> VllmNixlPushConnector::check_prefill(const OpenAiRequest& request, const Plan& plan,
                                                  const PrefillResponse& prefill) const {
  const auto offer = nixl::read_offer(prefill.body);
  if (!offer) return std::unexpected(offer.error());
  if (offer->params.empty()) {
    return fail(ErrorCode::kCorrupt, Stage::kHandoff,
                "the prefill pod returned no kv_transfer_params", true);
  }
  const EngineFacts& facts = plan.prefill->pod.facts;
  if (auto good = nixl::check_offer(*offer, request, facts); !good) return good;
  if (const std::string engine = nixl::engine_of(*offer); engine != facts.engine_id) {
    return fail(ErrorCode::kCorrupt, Stage::kHandoff,
                fmt::format("the prefill pod is engine {}, and the decode pod waits for engine {}",
                            engine, facts.engine_id),
                true);
  }
  return {};
}

LegAction VllmNixlPushConnector::on_leg_failure(const Error& error) const {
  return nixl::on_leg_failure(error);
}

Error VllmNixlPushConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  return nixl::read_error(status, body, leg);
}

std::vector<FactsTarget> VllmNixlPushConnector::facts_targets(const Pod&) const {
  return vllm_facts_targets();
}

Result<EngineFacts> VllmNixlPushConnector::read_facts(const Pod&,
                                                      std::span<const std::string> bodies) const {
  return read_vllm_facts(bodies);
}

std::optional<LegRequest> VllmNixlPushConnector::probe(const Pod& pod,
                                                       std::string_view model) const {
  return nixl::probe(pod, model);
}

Result<void> VllmNixlPushConnector::read_probe(const Pod&, unsigned status, std::string_view body,
                                               EngineFacts& facts) const {
  return nixl::read_probe(nixl::Mode::kPush, status, body, facts);
}

}  // namespace baton::adapters
