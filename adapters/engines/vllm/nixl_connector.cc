#include "adapters/engines/vllm/nixl_connector.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"

namespace baton::adapters {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::string_view kProducer =
    R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,)"
    R"("remote_block_ids":null,"remote_host":null,"remote_port":null})";
// No server serves a model of this name.
constexpr std::string_view kNoModel = "baton-gives-blocks-back";

std::unexpected<Error> wrong(std::string what) {
  return fail(ErrorCode::kCorrupt, Stage::kHandoff,
              "the prefill pod's kv_transfer_params " + std::move(what), true);
}

std::optional<std::int64_t> integer_in(const JsonFields& fields, std::string_view text,
                                       std::string_view key) {
  const JsonField* field = fields.find(key);
  if (field == nullptr || field->kind != JsonKind::kNumber) return std::nullopt;
  std::int64_t value = 0;
  const char* const end = text.data() + field->value_end;
  const auto [at, failure] = std::from_chars(text.data() + field->value_begin, end, value);
  return failure == std::errc() && at == end ? std::optional(value) : std::nullopt;
}

// The member's text within `text`; empty where it is absent or null.
std::string_view member_of(const JsonFields& fields, std::string_view text, std::string_view key) {
  const JsonField* field = fields.find(key);
  if (field == nullptr || field->kind == JsonKind::kNull) return {};
  return text.substr(field->value_begin, field->value_end - field->value_begin);
}

// Blocks of a prompt in a cache of one group, whose ids are a list of one list or, in older
// versions, a flat one. Nothing: there are several groups, which may hold fewer by right.
std::optional<std::int64_t> count_blocks(std::string_view ids) {
  const auto parsed = nlohmann::json::parse(ids, nullptr, false);
  if (!parsed.is_array() || parsed.empty()) return 0;
  if (!parsed.front().is_array()) return static_cast<std::int64_t>(parsed.size());
  if (parsed.size() > 1) return std::nullopt;
  return static_cast<std::int64_t>(parsed.front().size());
}

// What the prefill server answered, as far as the hand-off goes.
struct Offer {
  std::string_view params;  // empty: none
  std::int64_t prompt_tokens = -1;
};

Result<Offer> read_offer(std::string_view body) {
  const auto fields = JsonFields::scan(body, kMaxDepth);
  if (!fields) {
    return fail(ErrorCode::kUpstream, Stage::kHandoff, "the prefill answer is no JSON object",
                true);
  }
  Offer offer;
  offer.params = member_of(*fields, body, kTransferParams);
  const std::string_view usage = member_of(*fields, body, "usage");
  if (const auto members = JsonFields::scan(usage, kMaxDepth)) {
    offer.prompt_tokens = integer_in(*members, usage, "prompt_tokens").value_or(-1);
  }
  return offer;
}

// A key without which the decode server's engine would end in a KeyError, with all that runs there
// (nixl/metadata.py: add_new_req_to_recv); empty: all are there.
std::string_view missing_key(const JsonFields& params, std::string_view text) {
  for (const std::string_view key : {"remote_engine_id", "remote_request_id", "remote_host",
                                     "remote_port", "remote_block_ids"}) {
    if (member_of(params, text, key).empty()) return key;
  }
  return {};
}

// Whether the blocks can be those of this prompt: a decode server trusts them.
Result<void> check_offer(const Offer& offer, const OpenAiRequest& request,
                         const EngineFacts& facts) {
  const std::string_view text = offer.params;
  const auto fields = JsonFields::scan(text, kMaxDepth);
  if (!fields) return wrong("are no object");
  const JsonField* prefilled = fields->find("do_remote_prefill");
  if (prefilled == nullptr || prefilled->kind != JsonKind::kTrue) {
    return wrong("do not say do_remote_prefill");
  }
  if (const std::string_view key = missing_key(*fields, text); !key.empty()) {
    return wrong("have no " + std::string(key));
  }
  const auto asked = static_cast<std::int64_t>(request.prompt_ids.size());
  const std::int64_t tokens = offer.prompt_tokens;
  if (asked > 0 && tokens >= 0 && tokens != asked) {
    return wrong(fmt::format("are of a prompt of {} tokens, not of {}", tokens, asked));
  }
  const auto computed = integer_in(*fields, text, "remote_num_tokens").value_or(0);
  if (computed > 0 && tokens >= 0 && computed != tokens) {
    return wrong(fmt::format("cover {} of {} prompt tokens", computed, tokens));
  }
  const auto blocks = count_blocks(member_of(*fields, text, "remote_block_ids"));
  if (blocks == 0) return wrong("name no block");
  const std::int64_t block = facts.block_tokens.count();
  if (blocks && block > 0 && tokens >= 0 && *blocks * block < tokens) {
    return wrong(
        fmt::format("name {} blocks of {} tokens for a prompt of {}", *blocks, block, tokens));
  }
  return {};
}

}  // namespace

std::string VllmNixlConnector::refuses_split(const OpenAiRequest& request) const {
  return refuses_handoff(request);
}

Result<LegRequest> VllmNixlConnector::prefill_leg(const OpenAiRequest& request, const Plan&,
                                                  const HandoffKey& key) const {
  JsonPatch patch;
  limit_to_prefill(patch, request);
  patch.set("max_tokens", "1");
  patch.set(kTransferParams, kProducer);
  return patched_leg(request, key, std::move(patch));
}

Result<LegRequest> VllmNixlConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                                 const HandoffKey& key,
                                                 const PrefillResponse* prefill) const {
  if (plan.kind == PlanKind::kDecodeOnly || prefill == nullptr) return client_leg(request, key);
  const Result<Offer> offer = read_offer(prefill->body);
  if (!offer) return std::unexpected(offer.error());
  if (offer->params.empty()) {
    LegRequest leg = client_leg(request, key);
    leg.no_handoff = "the prefill pod returned no kv_transfer_params";
    return leg;
  }
  if (auto good = check_offer(*offer, request, plan.prefill->pod.facts); !good) {
    return std::unexpected(good.error());
  }
  JsonPatch patch;
  patch.set(kTransferParams, offer->params);
  return patched_leg(request, key, std::move(patch));
}

LegAction VllmNixlConnector::on_leg_failure(const Error& error) const {
  if (!error.retryable) return LegAction::kFail;
  return error.stage == Stage::kPrefill ? LegAction::kRetryPrefill : LegAction::kRetryPair;
}

std::optional<Release> VllmNixlConnector::release(const Plan& plan, const HandoffKey&,
                                                  const PrefillResponse* prefill) const {
  if (prefill == nullptr || plan.decode == nullptr) return std::nullopt;
  const Result<Offer> offer = read_offer(prefill->body);
  if (!offer || offer->params.empty()) return std::nullopt;
  const auto fields = JsonFields::scan(offer->params, kMaxDepth);
  if (!fields || !missing_key(*fields, offer->params).empty()) return std::nullopt;
  Release release;
  release.pod = Stage::kDecode;
  release.status = 404;
  release.request.target = target_of(Api::kCompletions);
  release.request.body = fmt::format(R"({{"model":"{}","prompt":"x","max_tokens":1,"{}":{}}})",
                                     kNoModel, kTransferParams, offer->params);
  return release;
}

Error VllmNixlConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  Error error = read_openai_error(status, error_in(body), leg);
  // The engine's word for a pull that failed, too.
  if (leg == Stage::kDecode && status == 500) error.stage = Stage::kHandoff;
  return error;
}

std::vector<FactsTarget> VllmNixlConnector::facts_targets(const Pod&) const {
  return {{"/version"}, {"/v1/models"}};
}

Result<EngineFacts> VllmNixlConnector::read_facts(const Pod&,
                                                  std::span<const std::string> bodies) const {
  const auto version = nlohmann::json::parse(bodies[0], nullptr, false);
  if (!version.is_object() || !version.contains("version") || !version["version"].is_string()) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/version names no version: is it a vLLM?",
                true);
  }
  EngineFacts facts;
  facts.engine_version = "vLLM " + version["version"].get<std::string>();
  const auto model = first_model_in(bodies[1], "vllm");
  if (!model) return std::unexpected(model.error());
  facts.max_context = model->max_context;
  return facts;
}

}  // namespace baton::adapters
