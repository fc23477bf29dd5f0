#include "adapters/engines/trtllm/trtllm_connector.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"
#include "adapters/engines/openai_stream.h"
#include "core/json_cursor.h"

namespace baton::adapters {
namespace {

constexpr std::string_view kParams = "disaggregated_params";

std::unexpected<Error> wrong(std::string what) {
  return fail(ErrorCode::kCorrupt, Stage::kHandoff, "the context server's answer " + what, true);
}

// Positive int64 at or above 2^40, in older versions 2^42, below which servers number their own
// requests (get_global_disagg_request_id in llmapi/disagg_utils.py).
std::uint64_t request_number(const HandoffKey& key) {
  constexpr std::uint64_t kFirst = 1ULL << 42;
  const std::uint64_t number = key.number();
  return number < kFirst ? number + kFirst : number;
}

JsonValue member(const JsonFields& fields, std::string_view text, std::string_view key) {
  const JsonField* field = fields.find(key);
  return field == nullptr ? JsonValue{} : value_of(*field, text);
}

// What the context server answered, as far as the hand-off goes. Borrows the answer's text.
struct ContextAnswer {
  JsonFields fields;  // of the answer
  std::string_view choice;
  JsonFields choice_fields;
  std::string_view finish_reason;  // without quotes
  JsonValue params;
  JsonValue prompt_ids;
  JsonValue usage;
};

Result<ContextAnswer> read_answer(std::string_view body) {
  auto fields = JsonFields::scan(body);
  if (!fields) return wrong("is no JSON object");
  ContextAnswer answer;
  answer.fields = std::move(*fields);
  const JsonValue choices = member(answer.fields, body, "choices");
  if (choices.kind != JsonKind::kArray) return wrong("has no choices");
  int count = 0;
  for (JsonCursor choice(choices); choice.next(); ++count) answer.choice = choice.value().text;
  if (count != 1) return wrong(fmt::format("has {} choices, not one", count));
  auto choice_fields = JsonFields::scan(answer.choice);
  if (!choice_fields) return wrong("has a choice that is no object");
  answer.choice_fields = std::move(*choice_fields);
  const JsonValue reason = member(answer.choice_fields, answer.choice, "finish_reason");
  if (reason.kind != JsonKind::kString) return wrong("says no finish_reason");
  answer.finish_reason = reason.text.substr(1, reason.text.size() - 2);
  answer.params = member(answer.choice_fields, answer.choice, kParams);
  answer.prompt_ids = member(answer.fields, body, "prompt_token_ids");
  answer.usage = member(answer.fields, body, "usage");
  return answer;
}

bool goes_on(const ContextAnswer& answer) {
  return answer.finish_reason == "length" || answer.finish_reason == "not_finished";
}

// The parameters as the generation server wants them (_get_gen_request).
Result<std::string> generation_params(const ContextAnswer& answer, const HandoffKey& key) {
  const std::string_view text = answer.params.text;
  if (answer.params.kind != JsonKind::kObject) return wrong("has no disaggregated_params");
  const auto fields = JsonFields::scan(text);
  if (!fields) return wrong("has disaggregated_params that are no object");
  if (member(*fields, text, "ctx_request_id").kind != JsonKind::kNumber) {
    return wrong("has no ctx_request_id");
  }
  if (member(*fields, text, "disagg_request_id").text != std::to_string(request_number(key))) {
    return wrong("is that of another request");
  }
  JsonPatch patch;
  patch.set("request_type", R"("generation_only")");
  // Versions that know it show it, if as null.
  const bool knows_usage = fields->find("ctx_usage") != nullptr;
  if (knows_usage && answer.usage.kind == JsonKind::kObject) {
    patch.set("ctx_usage", answer.usage.text);
  }
  return patch.apply(text, *fields);
}

// Passes the ids on where the answer has them; else the generation server makes them again.
Result<void> pass_ids(JsonPatch& patch, const OpenAiRequest& request, JsonValue ids) {
  if (ids.kind == JsonKind::kNull) return {};
  if (ids.kind != JsonKind::kArray) return wrong("has prompt_token_ids that are no list");
  std::size_t count = 0;
  for (JsonCursor id(ids); id.next();) ++count;
  if (count == 0) return wrong("has no prompt_token_ids");
  const std::size_t asked = request.prompt_ids.size();
  if (asked > 0 && count != asked && !is_set(request, "truncate_prompt_tokens")) {
    return wrong(fmt::format("is to a prompt of {} tokens, not of {}", count, asked));
  }
  patch.set(request.api == Api::kChat ? "prompt_token_ids" : "prompt", ids.text);
  return {};
}

// The answer without what is meant for a generation server.
std::string clients_answer(std::string_view body, const ContextAnswer& answer) {
  JsonPatch choice;
  choice.erase(kParams);
  JsonPatch patch;
  patch.set("choices", "[" + choice.apply(answer.choice, answer.choice_fields) + "]");
  patch.erase("prompt_token_ids");
  patch.erase("prompt_token_ids_b64");
  return patch.apply(body, answer.fields);
}

// py_executor.py (_check_cache_transfer_errors), disaggregation/orchestration/coordinator.py, and
// openai_server.py (_create_chat_response).
bool tells_of_handoff(std::string message) {
  std::ranges::transform(message, message.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 3> kTexts = {"kv cache transfer", "kv transfer",
                                                      "disaggregated_params is not set"};
  return std::ranges::any_of(kTexts, [&message](std::string_view text) {
    return message.find(text) != std::string::npos;
  });
}

}  // namespace

std::string TrtllmConnector::refuses_split(const OpenAiRequest& request) const {
  if (std::string reason = refuses_handoff(request); !reason.empty()) return reason;
  return is_set(request, "return_context_logits") ? "return_context_logits" : "";
}

Result<LegRequest> TrtllmConnector::prefill_leg(const OpenAiRequest& request, const Plan&,
                                                const HandoffKey& key) const {
  JsonPatch patch;
  if (request.stream) patch.set("stream", "false");
  patch.erase("stream_options");
  patch.set(kParams, fmt::format(R"({{"request_type":"context_only","disagg_request_id":{}}})",
                                 request_number(key)));
  return patched_leg(request, key, std::move(patch));
}

Result<LegRequest> TrtllmConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                               const HandoffKey& key,
                                               const PrefillResponse* prefill) const {
  if (plan.kind == PlanKind::kDecodeOnly || prefill == nullptr) return client_leg(request, key);
  const auto answer = read_answer(prefill->body);
  if (!answer) return std::unexpected(answer.error());
  const auto params = generation_params(*answer, key);
  if (!params) return std::unexpected(params.error());
  JsonPatch patch;
  patch.set(kParams, *params);
  if (auto passed = pass_ids(patch, request, answer->prompt_ids); !passed) {
    return std::unexpected(passed.error());
  }
  return patched_leg(request, key, std::move(patch));
}

Result<std::optional<WholeAnswer>> TrtllmConnector::whole_answer(
    const OpenAiRequest& request, const PrefillResponse& prefill) const {
  const auto answer = read_answer(prefill.body);
  if (!answer) return std::unexpected(answer.error());
  if (goes_on(*answer)) return std::nullopt;
  for (const std::string_view failed : {"timeout", "cancelled", "error"}) {
    if (answer->finish_reason == failed) return wrong("ended with " + std::string(failed));
  }
  std::string body = clients_answer(prefill.body, *answer);
  if (!request.stream) return WholeAnswer{"application/json", std::move(body)};
  auto stream = stream_of_answer(request.api, body, request.include_usage);
  if (!stream) return wrong("cannot be made a stream: " + stream.error().message);
  return WholeAnswer{"text/event-stream", std::move(*stream)};
}

LegAction TrtllmConnector::on_leg_failure(const Error& error) const {
  if (!error.retryable) return LegAction::kFail;
  return error.stage == Stage::kPrefill ? LegAction::kRetryPrefill : LegAction::kRetryPair;
}

Error TrtllmConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  Error error = read_openai_error(status, error_in(body), leg);
  if (tells_of_handoff(error.message)) {
    error.code = ErrorCode::kUpstream;
    error.retryable = true;
    if (leg == Stage::kDecode) error.stage = Stage::kHandoff;
  }
  return error;
}

std::vector<FactsTarget> TrtllmConnector::facts_targets(const Pod&) const {
  return {{"/version"}, {"/v1/models"}};
}

Result<EngineFacts> TrtllmConnector::read_facts(const Pod&,
                                                std::span<const std::string> bodies) const {
  const auto version = object_from("/version", bodies[0]);
  if (!version) return std::unexpected(version.error());
  const auto model = first_model_in(bodies[1], "tensorrt_llm");
  if (!model) return std::unexpected(model.error());
  EngineFacts facts;
  facts.engine_version = "TensorRT-LLM " + text_member(*version, "version");
  facts.model_hash = model->id;
  return facts;
}

}  // namespace baton::adapters
