#include "adapters/engines/baton/baton_connector.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"

namespace baton::adapters {
namespace {

std::string producer_params(const HandoffKey& key) {
  return R"({"baton":{"role":"producer","transfer_id":")" + key.transfer_id.str() + "\"}}";
}

std::string consumer_params(const EngineFacts& source, const HandoffKey& key) {
  return R"({"baton":{"role":"consumer","transfer_id":")" + key.transfer_id.str() +
         R"(","kv_address":)" + json_quote(source.kv_address) + R"(,"engine_id":)" +
         json_quote(source.engine_id) + R"(,"epoch":)" + std::to_string(source.epoch) + "}}";
}

std::optional<Stage> stage_from_name(std::string_view name) {
  for (const Stage stage : {Stage::kRouter, Stage::kPrefill, Stage::kHandoff, Stage::kDecode}) {
    if (name == name_of(stage)) return stage;
  }
  return std::nullopt;
}

std::optional<ErrorCode> code_from_name(std::string_view name) {
  for (const ErrorCode code :
       {ErrorCode::kInvalidArgument, ErrorCode::kNotFound, ErrorCode::kTooLarge,
        ErrorCode::kRateLimited, ErrorCode::kCancelled, ErrorCode::kInternal, ErrorCode::kUpstream,
        ErrorCode::kUnavailable, ErrorCode::kTimeout, ErrorCode::kStale, ErrorCode::kCorrupt,
        ErrorCode::kUnsupported}) {
    if (name == name_of(code)) return code;
  }
  return std::nullopt;
}

}  // namespace

std::string BatonConnector::refuses_split(const OpenAiRequest& request) const {
  return refuses_handoff(request);
}

Result<LegRequest> BatonConnector::prefill_leg(const OpenAiRequest& request, const Plan&,
                                               const HandoffKey& key) const {
  JsonPatch patch;
  patch.set(kTransferParams, producer_params(key));
  limit_to_prefill(patch, request);
  return patched_leg(request, key, std::move(patch));
}

Result<LegRequest> BatonConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                              const HandoffKey& key, const PrefillResponse*) const {
  if (plan.kind == PlanKind::kDecodeOnly) return client_leg(request, key);
  const EngineFacts& source = plan.prefill->pod.facts;
  if (source.kv_address.empty()) {
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                "pod " + plan.prefill->pod.name + " has told no hand-off address", true);
  }
  JsonPatch patch;
  patch.set(kTransferParams, consumer_params(source, key));
  return patched_leg(request, key, std::move(patch));
}

LegAction BatonConnector::on_leg_failure(const Error& error) const {
  if (!error.retryable) return LegAction::kFail;
  switch (error.stage) {
    case Stage::kPrefill: return LegAction::kRetryPrefill;
    case Stage::kHandoff: return LegAction::kRetryPair;
    case Stage::kDecode: return LegAction::kRetryDecode;
    case Stage::kRouter:
    case Stage::kConfig: return LegAction::kFail;
  }
  return LegAction::kFail;
}

std::optional<Release> BatonConnector::release(const Plan&, const HandoffKey& key,
                                               const PrefillResponse*) const {
  Release release;
  release.request.method = "DELETE";
  release.request.target = "/baton/leases/" + key.transfer_id.str();
  return release;
}

Error BatonConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  const nlohmann::json said = error_in(body);
  Error error = read_openai_error(status, said, leg);
  if (!said.is_object()) return error;
  if (const auto stage = stage_from_name(text_member(said, "stage"));
      stage && *stage != Stage::kRouter) {
    error.stage = *stage;
  }
  if (const auto code = code_from_name(text_member(said, "code"))) error.code = *code;
  const auto retryable = said.find("retryable");
  if (retryable != said.end() && retryable->is_boolean()) error.retryable = retryable->get<bool>();
  return error;
}

Result<EngineFacts> BatonConnector::read_facts(const Pod&,
                                               std::span<const std::string> bodies) const {
  const auto parsed = nlohmann::json::parse(bodies.front(), nullptr, false);
  if (!parsed.is_object()) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/baton/facts is no JSON object", true);
  }
  EngineFacts facts;
  facts.engine_id = text_member(parsed, "engine_id");
  if (facts.engine_id.empty()) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/baton/facts has no engine_id", true);
  }
  if (const auto epoch = parsed.find("epoch"); epoch != parsed.end() && epoch->is_number()) {
    facts.epoch = epoch->get<std::uint64_t>();
  }
  facts.engine_version = text_member(parsed, "engine_version");
  facts.model_hash = text_member(parsed, "model_hash");
  facts.kv_address = text_member(parsed, "kv_address");
  facts.block_tokens = Tokens(integer_member(parsed, "block_tokens"));
  facts.max_context = Tokens(integer_member(parsed, "max_context"));
  facts.bytes_per_token = Bytes(integer_member(parsed, "bytes_per_token"));
  const std::string layout = text_member(parsed, "layout_hash");
  const char* end = layout.data() + layout.size();
  const auto [at, failure] = std::from_chars(layout.data(), end, facts.layout_hash, 16);
  if (!layout.empty() && (failure != std::errc() || at != end)) {
    return fail(ErrorCode::kUpstream, Stage::kRouter,
                "/baton/facts: layout_hash is not 16 hex digits", true);
  }
  return facts;
}

}  // namespace baton::adapters
