#include "adapters/engines/sglang/sglang_connector.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"

namespace baton::adapters {
namespace {

// More prompts than this one request cannot hold.
constexpr std::uint64_t kMostPrompts = 1ULL << 32;

// The room of a request's only or first prompt. The engine numbers those of the others from it
// (managers/io_struct.py:818), which must stay int64.
std::uint64_t room_of(const HandoffKey& key) {
  constexpr auto kLast =
      static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - kMostPrompts;
  return std::min(key.number(), kLast);
}

// As the pod told it, else as configured.
std::uint16_t bootstrap_port_of(const Pod& pod) {
  const std::string& address = pod.facts.kv_address;
  const std::size_t colon = address.rfind(':');
  const char* const begin = address.data() + (colon == std::string::npos ? 0 : colon + 1);
  const char* const end = address.data() + address.size();
  std::uint16_t port = 0;
  const auto [at, failure] = std::from_chars(begin, end, port);
  return failure == std::errc() && at == end && port != 0 ? port : pod.bootstrap_port;
}

void name_room(JsonPatch& patch, const Pod& prefill, const HandoffKey& key) {
  patch.set("bootstrap_host", json_quote(prefill.host));
  patch.set("bootstrap_port", std::to_string(bootstrap_port_of(prefill)));
  patch.set("bootstrap_room", std::to_string(room_of(key)));
}

// What a decode server says where the blocks did not come: disaggregation/decode.py:878, 2077,
// 2095 and 2256, common/conn.py:87.
bool tells_of_handoff(std::string_view message) {
  constexpr std::array<std::string_view, 5> kTexts = {
      "KVTransferError", "Decode handshake failed", "Decode transfer failed",
      "Metadata unexpectedly not ready", "Metadata corruption detected"};
  return std::ranges::any_of(kTexts, [message](std::string_view text) {
    return message.find(text) != std::string_view::npos;
  });
}

std::string_view mode_of(Role role) {
  switch (role) {
    case Role::kPrefill: return "prefill";
    case Role::kDecode: return "decode";
    case Role::kBoth: return "null";
  }
  return "null";
}

Result<void> check_mode(const Pod& pod, const nlohmann::json& info) {
  const std::string mode = text_member(info, "disaggregation_mode");
  if (mode.empty()) {
    return fail(ErrorCode::kUpstream, Stage::kRouter,
                "/server_info has no disaggregation_mode: is it an SGLang?", true);
  }
  if (mode == mode_of(pod.role)) return {};
  return fail(ErrorCode::kUnsupported, Stage::kRouter,
              fmt::format("it runs with --disaggregation-mode {}, but its role in the "
                          "configuration, {}, takes --disaggregation-mode {}",
                          mode, name_of(pod.role), mode_of(pod.role)));
}

}  // namespace

std::string SglangConnector::refuses_split(const OpenAiRequest& request) const {
  if (request.n > 1) return "n > 1";
  if (request.has_echo && request.has_logprobs) return "echo with logprobs";
  // The last three choose a rank, by which the two servers would miss each other.
  for (const std::string_view key :
       {"return_hidden_states", "return_routed_experts", "routed_dp_rank", "data_parallel_rank",
        "disagg_prefill_dp_rank"}) {
    if (is_set(request, key)) return std::string(key);
  }
  return {};
}

Result<LegRequest> SglangConnector::prefill_leg(const OpenAiRequest& request, const Plan& plan,
                                                const HandoffKey& key) const {
  JsonPatch patch;
  name_room(patch, plan.prefill->pod, key);
  if (request.stream) patch.set("stream", "false");
  patch.erase("stream_options");
  return patched_leg(request, key, std::move(patch));
}

Result<LegRequest> SglangConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key,
                                               const PrefillResponse*) const {
  if (plan.kind == PlanKind::kDecodeOnly) return client_leg(request, key);
  JsonPatch patch;
  name_room(patch, plan.prefill->pod, key);
  return patched_leg(request, key, std::move(patch));
}

Result<void> SglangConnector::check_prefill(const OpenAiRequest&, const Plan&,
                                            const PrefillResponse& prefill) const {
  const auto refuse = [](std::string what) {
    return fail(ErrorCode::kUpstream, Stage::kHandoff, "the prefill answer " + std::move(what),
                true);
  };
  const auto answer = nlohmann::json::parse(prefill.body, nullptr, false);
  if (!answer.is_object()) return refuse("is no JSON object");
  const auto choices = answer.find("choices");
  if (choices == answer.end() || !choices->is_array() || choices->empty()) {
    return refuse("has no choices");
  }
  for (const auto& choice : *choices) {
    if (!choice.is_object()) return refuse("has a choice that is no object");
    if (text_member(choice, "finish_reason") == "abort") return refuse("says that it was aborted");
  }
  return {};
}

LegAction SglangConnector::on_leg_failure(const Error& error) const {
  if (!error.retryable) return LegAction::kFail;
  return error.stage == Stage::kPrefill ? LegAction::kRetryPrefill : LegAction::kRetryPair;
}

Error SglangConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  Error error = read_openai_error(status, error_in(body), leg);
  if (leg == Stage::kDecode && status >= 500 && tells_of_handoff(error.message)) {
    error.stage = Stage::kHandoff;
  }
  return error;
}

// /server_info is there since v0.5.6.
std::vector<FactsTarget> SglangConnector::facts_targets(const Pod&) const {
  return {{"/server_info"}, {"/v1/models"}};
}

Result<EngineFacts> SglangConnector::read_facts(const Pod& pod,
                                                std::span<const std::string> bodies) const {
  const auto info = object_from("/server_info", bodies[0]);
  if (!info) return std::unexpected(info.error());
  if (auto good = check_mode(pod, *info); !good) return std::unexpected(good.error());
  const auto model = first_model_in(bodies[1], "sglang");
  if (!model) return std::unexpected(model.error());
  EngineFacts facts;
  facts.engine_version = "SGLang " + text_member(*info, "version");
  facts.max_context = model->max_context;
  facts.block_tokens = Tokens(integer_member(*info, "page_size"));
  facts.tensor_parallel = static_cast<int>(integer_member(*info, "tp_size"));
  // The engine compares no more than page sizes and KV types, and those only when the first request
  // comes (disaggregation/common/conn.py:606): blocks of another model would be taken as they are.
  facts.model_hash = text_member(*info, "model_path") + " " + text_member(*info, "dtype");
  facts.layout_hash = fingerprint_of({std::to_string(facts.block_tokens.count()),
                                      text_member(*info, "kv_cache_dtype"),
                                      text_member(*info, "disaggregation_transfer_backend")});
  if (const auto port = integer_member(*info, "disaggregation_bootstrap_port");
      pod.role == Role::kPrefill && port > 0 && port <= std::numeric_limits<std::uint16_t>::max()) {
    facts.kv_address = fmt::format("{}:{}", pod.host, port);
  }
  // How long each part of the start took, and the seed that it drew: those of no other start.
  const auto started = info->find("startup_time");
  facts.epoch = fingerprint_of({started == info->end() ? "" : started->dump(),
                                std::to_string(integer_member(*info, "random_seed"))});
  return facts;
}

}  // namespace baton::adapters
