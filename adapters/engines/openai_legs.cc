#include "adapters/engines/openai_legs.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace baton::adapters {
namespace {

ErrorCode code_from_status(unsigned status) {
  switch (status) {
    case 404: return ErrorCode::kNotFound;
    case 408:
    case 504: return ErrorCode::kTimeout;
    case 413: return ErrorCode::kTooLarge;
    case 429: return ErrorCode::kRateLimited;
    case 500: return ErrorCode::kInternal;
    case 501: return ErrorCode::kUnsupported;
    case 503: return ErrorCode::kUnavailable;
    default:
      return status >= 500 || status < 400 ? ErrorCode::kUpstream : ErrorCode::kInvalidArgument;
  }
}

}  // namespace

bool is_set(const OpenAiRequest& request, std::string_view key) {
  const JsonField* field = request.fields.find(key);
  return field != nullptr && field->kind != JsonKind::kNull && field->kind != JsonKind::kFalse;
}

std::string target_of(Api api) {
  return api == Api::kChat ? "/v1/chat/completions" : "/v1/completions";
}

LegRequest patched_leg(const OpenAiRequest& request, const HandoffKey& key, JsonPatch patch) {
  if (!key.served_model.empty()) patch.set("model", json_quote(key.served_model));
  LegRequest leg;
  leg.target = target_of(request.api);
  leg.body = patch.apply(request.body, request.fields);
  return leg;
}

void limit_to_prefill(JsonPatch& patch, const OpenAiRequest& request) {
  patch.set("stream", "false");
  patch.erase("stream_options");
  const bool newer_name = request.fields.find("max_completion_tokens") != nullptr;
  if (newer_name) patch.set("max_completion_tokens", "1");
  if (!newer_name || request.fields.find("max_tokens") != nullptr) patch.set("max_tokens", "1");
  patch.erase("min_tokens");  // would contradict max_tokens
}

LegRequest client_leg(const OpenAiRequest& request, const HandoffKey& key) {
  if (!key.served_model.empty()) return patched_leg(request, key, {});
  LegRequest leg;
  leg.target = target_of(request.api);
  leg.body = request.body;
  return leg;
}

std::string refuses_handoff(const OpenAiRequest& request) {
  if (request.n > 1) return "n > 1";
  if (request.prompt_is_batch) return "more than one prompt";
  for (const std::string_view key : {"echo", "best_of", "use_beam_search", "prompt_logprobs"}) {
    if (is_set(request, key)) return std::string(key);
  }
  return {};
}

std::string_view fault_in_answer(std::string_view body) {
  const auto fields = JsonFields::scan(body);
  if (!fields) return "is no JSON object";
  const JsonField* error = fields->find("error");
  if (error != nullptr && error->kind != JsonKind::kNull) return "tells of an error";
  const JsonField* choices = fields->find("choices");
  if (choices == nullptr || choices->kind != JsonKind::kArray) return "has no choices";
  return {};
}

nlohmann::json error_in(std::string_view body) {
  auto parsed = nlohmann::json::parse(body, nullptr, false);
  if (!parsed.is_object()) return nullptr;
  const auto kind = parsed.find("object");
  if (kind != parsed.end() && *kind == "error") return parsed;
  const auto found = parsed.find("error");
  if (found == parsed.end() || !found->is_object()) return nullptr;
  return std::move(*found);
}

Error read_openai_error(unsigned status, const nlohmann::json& said, Stage leg) {
  Error error;
  error.stage = leg;
  error.code = code_from_status(status);
  // Without a word from the pod: its own trouble (5xx, overload) may not be another pod's.
  error.retryable = status >= 500 || status < 400 || status == 408 || status == 429;
  const auto text = [&said](const char* key) {
    const auto member = said.find(key);
    return member != said.end() && member->is_string() ? member->get<std::string>() : std::string();
  };
  error.message = text("message");
  if (error.message.empty()) error.message = "status " + std::to_string(status);
  error.param = text("param");
  return error;
}

}  // namespace baton::adapters
