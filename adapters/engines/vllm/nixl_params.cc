#include "adapters/engines/vllm/nixl_params.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"

namespace baton::adapters {
namespace {

constexpr std::string_view kProducer =
    R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,)"
    R"("remote_block_ids":null,"remote_host":null,"remote_port":null})";

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

}  // namespace

namespace nixl {

Result<Offer> read_offer(std::string_view body) {
  const auto fields = JsonFields::scan(body);
  if (!fields) {
    return fail(ErrorCode::kUpstream, Stage::kHandoff, "the prefill answer is no JSON object",
                true);
  }
  Offer offer;
  offer.params = member_of(*fields, body, kTransferParams);
  const std::string_view usage = member_of(*fields, body, "usage");
  if (const auto members = JsonFields::scan(usage)) {
    offer.prompt_tokens = integer_in(*members, usage, "prompt_tokens").value_or(-1);
  }
  return offer;
}

std::string_view missing_key(const Offer& offer) {
  const auto fields = JsonFields::scan(offer.params);
  for (const std::string_view key : {"remote_engine_id", "remote_request_id", "remote_host",
                                     "remote_port", "remote_block_ids"}) {
    if (!fields || member_of(*fields, offer.params, key).empty()) return key;
  }
  return {};
}

Result<void> check_offer(const Offer& offer, const OpenAiRequest& request,
                         const EngineFacts& facts) {
  const std::string_view text = offer.params;
  const auto fields = JsonFields::scan(text);
  if (!fields) return wrong("are no object");
  const JsonField* prefilled = fields->find("do_remote_prefill");
  if (prefilled == nullptr || prefilled->kind != JsonKind::kTrue) {
    return wrong("do not say do_remote_prefill");
  }
  if (const std::string_view key = missing_key(offer); !key.empty()) {
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

std::string engine_of(const Offer& offer) {
  const auto params = nlohmann::json::parse(offer.params, nullptr, false);
  return params.is_object() ? text_member(params, "remote_engine_id") : std::string();
}

Result<LegRequest> prefill_leg(const OpenAiRequest& request, const HandoffKey& key) {
  JsonPatch patch;
  limit_to_prefill(patch, request);
  patch.set("max_tokens", "1");
  patch.set(kTransferParams, kProducer);
  return patched_leg(request, key, std::move(patch));
}

LegAction on_leg_failure(const Error& error) {
  if (!error.retryable) return LegAction::kFail;
  return error.stage == Stage::kPrefill ? LegAction::kRetryPrefill : LegAction::kRetryPair;
}

Error read_error(unsigned status, std::string_view body, Stage leg) {
  Error error = read_openai_error(status, error_in(body), leg);
  // The engine's word for blocks that did not come, too.
  if (leg == Stage::kDecode && status == 500) error.stage = Stage::kHandoff;
  return error;
}

std::optional<LegRequest> probe(const Pod& pod, std::string_view model) {
  if (!can_prefill(pod.role)) return std::nullopt;
  LegRequest request;
  request.target = target_of(Api::kCompletions);
  request.body =
      fmt::format(R"({{"model":{},"prompt":"x","max_tokens":1,"temperature":0,"{}":{}}})",
                  json_quote(model), kTransferParams, kProducer);
  return request;
}

Result<void> read_probe(Mode mode, unsigned status, std::string_view body, EngineFacts& facts) {
  const bool is_push = mode == Mode::kPush;
  const std::string_view kv_connector = is_push ? "NixlPushConnector" : "NixlConnector";
  if (status != 200) {
    Error error = read_openai_error(status, error_in(body), Stage::kRouter);
    error.message = "it refuses a prefill request: " + error.message;
    return std::unexpected(std::move(error));
  }
  const auto answer = nlohmann::json::parse(body, nullptr, false);
  const auto found = answer.is_object() ? answer.find(std::string(kTransferParams)) : answer.end();
  if (found == answer.end() || !found->is_object()) {
    return fail(ErrorCode::kUnsupported, Stage::kRouter,
                fmt::format(R"(it answers without kv_transfer_params: start it with )"
                            R"(--kv-transfer-config '{{"kv_connector":"{}","kv_role":"kv_both"}}')",
                            kv_connector));
  }
  const nlohmann::json& params = *found;
  const std::string spoken = text_member(params, "transfer_mode");  // older ones pull, and say none
  if (is_push ? spoken != "push" : spoken == "push") {
    return fail(ErrorCode::kUnsupported, Stage::kRouter,
                fmt::format("it hands over by {}: start it with the kv_connector {}, or configure "
                            "the pool's connector as {}",
                            spoken.empty() ? "pull" : spoken, kv_connector,
                            is_push ? "vllm-nixl" : "vllm-nixl-push"));
  }
  const std::string host = text_member(params, "remote_host");
  const std::int64_t port = integer_member(params, "remote_port");
  facts.engine_id = text_member(params, "remote_engine_id");
  if (facts.engine_id.empty() || host.empty() || port <= 0 || port > 65'535) {
    return fail(ErrorCode::kUnsupported, Stage::kRouter,
                "its kv_transfer_params name no engine, or no address");
  }
  facts.kv_address = fmt::format("{}:{}", host, port);
  facts.tensor_parallel = static_cast<int>(integer_member(params, "tp_size"));
  facts.pipeline_parallel = static_cast<int>(integer_member(params, "pp_size"));
  return {};
}

}  // namespace nixl

std::vector<FactsTarget> vllm_facts_targets() { return {{"/version"}, {"/v1/models"}}; }

Result<EngineFacts> read_vllm_facts(std::span<const std::string> bodies) {
  const auto version = nlohmann::json::parse(bodies[0], nullptr, false);
  if (!version.is_object() || text_member(version, "version").empty()) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/version names no version: is it a vLLM?",
                true);
  }
  const auto model = first_model_in(bodies[1], "vllm");
  if (!model) return std::unexpected(model.error());
  EngineFacts facts;
  facts.engine_version = "vLLM " + text_member(version, "version");
  facts.max_context = model->max_context;
  return facts;
}

}  // namespace baton::adapters
