#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/trtllm/trtllm_dress.h"

namespace baton::adapters::mock::trtllm {
namespace {

// serve/openai_server.py, validation_exception_handler: pydantic's errors as Python shows them.
Answer invalid(std::string_view place, std::string_view type, std::string_view message) {
  return {400, dump({{"error", fmt::format("[{{'type': '{}', 'loc': ('body'{}), 'msg': '{}'}}]",
                                           type, place, message)}})};
}

std::string place_of(std::string_view name) { return fmt::format(", '{}'", name); }

bool is_whole(const Json& value) {
  return value.is_number_integer() ||
         (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
}
bool all_whole(const Json& value) {
  return value.is_array() &&
         std::ranges::all_of(value, [](const Json& one) { return is_whole(one); });
}
bool is_number(const Json& value) { return value.is_number(); }
bool is_flag(const Json& value) { return value.is_boolean(); }
bool is_text(const Json& value) { return value.is_string(); }
bool is_object(const Json& value) { return value.is_object(); }
bool is_list(const Json& value) { return value.is_array(); }
bool is_anything(const Json&) { return true; }

bool is_stop(const Json& value) {
  return value.is_string() || (value.is_array() && std::ranges::all_of(value, [](const Json& one) {
                                 return one.is_string();
                               }));
}

bool is_prompt(const Json& value) {
  if (is_stop(value) || all_whole(value)) return true;
  return value.is_array() &&
         std::ranges::all_of(value, [](const Json& one) { return all_whole(one); });
}

using Check = bool (*)(const Json&);

struct Field {
  const char* name;
  Check good;
};

struct Kind {
  Check check;
  std::string_view type;
  std::string_view message;
};

constexpr Kind kKinds[] = {{&is_whole, "int_type", "Input should be a valid integer"},
                           {&is_number, "float_type", "Input should be a valid number"},
                           {&is_flag, "bool_type", "Input should be a valid boolean"},
                           {&is_text, "string_type", "Input should be a valid string"},
                           {&is_object, "dict_type", "Input should be a valid dictionary"}};

constexpr Field kBoth[] = {{"model", &is_text},
                           {"frequency_penalty", &is_number},
                           {"logit_bias", &is_object},
                           {"n", &is_whole},
                           {"presence_penalty", &is_number},
                           {"response_format", &is_object},
                           {"seed", &is_whole},
                           {"stop", &is_stop},
                           {"stream", &is_flag},
                           {"stream_options", &is_object},
                           {"temperature", &is_number},
                           {"top_p", &is_number},
                           {"user", &is_text},
                           {"lora_request", &is_object},
                           {"prompt_ignore_length", &is_whole},
                           {"best_of", &is_whole},
                           {"use_beam_search", &is_flag},
                           {"top_k", &is_whole},
                           {"top_p_min", &is_number},
                           {"min_p", &is_number},
                           {"repetition_penalty", &is_number},
                           {"length_penalty", &is_number},
                           {"early_stopping", &is_anything},
                           {"stop_token_ids", &all_whole},
                           {"include_stop_str_in_output", &is_flag},
                           {"ignore_eos", &is_flag},
                           {"min_tokens", &is_whole},
                           {"max_tokens", &is_whole},
                           {"skip_special_tokens", &is_flag},
                           {"spaces_between_special_tokens", &is_flag},
                           {"truncate_prompt_tokens", &is_whole},
                           {"thinking_token_budget", &is_whole},
                           {"add_special_tokens", &is_flag},
                           {"echo", &is_flag},
                           {"disaggregated_params", &is_object},
                           {"conversation_params", &is_object},
                           {"priority", &is_number}};
constexpr Field kChat[] = {{"messages", &is_list},
                           {"prompt_token_ids", &all_whole},
                           {"prompt_token_ids_b64", &is_text},
                           {"logprobs", &is_flag},
                           {"top_logprobs", &is_whole},
                           {"max_completion_tokens", &is_whole},
                           {"tools", &is_list},
                           {"tool_choice", &is_anything},
                           {"parallel_tool_calls", &is_flag},
                           {"reasoning_effort", &is_text},
                           {"thinking", &is_object},
                           {"add_generation_prompt", &is_flag},
                           {"documents", &is_list},
                           {"chat_template", &is_text},
                           {"chat_template_kwargs", &is_object},
                           {"injected_chat_template_kwargs", &is_list},
                           {"media_io_kwargs", &is_object},
                           {"cache_salt", &is_text},
                           {"agent_hierarchy", &is_anything},
                           {"mm_processor_kwargs", &is_object}};
constexpr Field kCompletion[] = {{"prompt", &is_prompt},
                                 {"logprobs", &is_whole},
                                 {"suffix", &is_text},
                                 {"return_context_logits", &is_flag},
                                 {"detokenize", &is_flag}};
constexpr Field kDisaggregated[] = {{"request_type", &is_text},
                                    {"first_gen_tokens", &all_whole},
                                    {"first_gen_log_probs", &is_list},
                                    {"first_gen_logits", &is_list},
                                    {"ctx_request_id", &is_whole},
                                    {"encoded_opaque_state", &is_text},
                                    {"draft_tokens", &all_whole},
                                    {"disagg_request_id", &is_whole},
                                    {"ctx_dp_rank", &is_whole},
                                    {"ctx_info_endpoint", &is_text},
                                    {"schedule_style", &is_anything},
                                    {"ctx_usage", &is_object},
                                    {"return_prompt_token_ids_b64", &is_flag},
                                    {"resolved_thinking", &is_flag}};
constexpr Field kUsage[] = {{"prompt_tokens", &is_whole},
                            {"total_tokens", &is_whole},
                            {"completion_tokens", &is_whole},
                            {"prompt_tokens_details", &is_object}};
constexpr Field kStreamOptions[] = {{"include_usage", &is_flag},
                                    {"continuous_usage_stats", &is_flag}};
constexpr Field kResponseFormat[] = {{"type", &is_text},          {"schema", &is_object},
                                     {"json_schema", &is_object}, {"regex", &is_text},
                                     {"ebnf", &is_text},          {"format", &is_anything}};
constexpr Field kTool[] = {{"type", &is_text}, {"function", &is_object}};
constexpr Field kFunction[] = {{"name", &is_text},
                               {"description", &is_text},
                               {"parameters", &is_object},
                               {"strict", &is_flag}};
constexpr Field kNamedFunction[] = {{"name", &is_text}};
constexpr Field kConversation[] = {{"conversation_id", &is_anything},
                                   {"subagent_affinity_id", &is_text}};

const Field* find(std::span<const Field> fields, std::string_view name) {
  const auto found = std::ranges::find(
      fields, name, [](const Field& field) { return std::string_view(field.name); });
  return found == fields.end() ? nullptr : &*found;
}

// An object's members against a schema in one or two parts.
std::optional<Answer> check(const Json& object, const std::string& place,
                            std::span<const Field> fields, std::span<const Field> more = {}) {
  for (const auto& [name, value] : object.items()) {
    const Field* field = find(fields, name);
    if (field == nullptr) field = find(more, name);
    if (field == nullptr) {
      return invalid(place + place_of(name), "extra_forbidden", "Extra inputs are not permitted");
    }
    if (value.is_null() || field->good(value)) continue;
    for (const Kind& kind : kKinds) {
      if (kind.check == field->good)
        return invalid(place + place_of(name), kind.type, kind.message);
    }
    return invalid(place + place_of(name), "list_type", "Input should be a valid list");
  }
  return std::nullopt;
}

std::optional<Answer> check_member(const Json& body, const char* name,
                                   std::span<const Field> fields) {
  const Json* value = member(body, name);
  return value == nullptr ? std::nullopt : check(*value, place_of(name), fields);
}

std::optional<Answer> check_tools(const Json& body) {
  const Json* tools = member(body, "tools");
  for (const Json& tool : tools == nullptr ? Json::array() : *tools) {
    if (!tool.is_object())
      return invalid(place_of("tools"), "dict_type", "Input should be an object");
    if (auto wrong = check(tool, place_of("tools"), kTool)) return wrong;
    if (auto wrong = check_member(tool, "function", kFunction)) return wrong;
  }
  const Json* choice = member(body, "tool_choice");
  if (choice == nullptr) return std::nullopt;
  const bool free = *choice == "none" || *choice == "auto";
  if (!free && (tools == nullptr || tools->empty())) {
    return invalid("", "value_error",
                   "Value error, When using `tool_choice`, `tools` must be set.");
  }
  if (!choice->is_object()) return std::nullopt;
  if (auto wrong = check(*choice, place_of("tool_choice"), kTool)) return wrong;
  return check_member(*choice, "function", kNamedFunction);
}

std::optional<Answer> check_values(Api api, const Json& body) {
  if (member(body, "stream_options") != nullptr && !is_true(body, "stream")) {
    return invalid("", "value_error",
                   api == Api::kChat
                       ? "Value error, stream_options can only be set if stream is true"
                       : "Value error, Stream options can only be defined when stream is true.");
  }
  if (!text_of(body, "suffix").empty()) {
    return invalid("", "value_error", "Value error, suffix is not supported");
  }
  if (member(body, "top_logprobs") != nullptr && !is_true(body, "logprobs")) {
    return invalid("", "value_error", "Value error, logprobs must be true when using top_logprobs");
  }
  return std::nullopt;
}

}  // namespace

std::expected<Json, Answer> parse_body(const http::Request& request) {
  Json body = Json::parse(request.body, nullptr, false);
  if (body.is_discarded()) return std::unexpected(invalid("", "json_invalid", "JSON decode error"));
  if (!body.is_object()) {
    return std::unexpected(
        invalid("", "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from"));
  }
  return body;
}

std::optional<Answer> check_body(Api api, const Json& body) {
  const bool chat = api == Api::kChat;
  for (const char* needed : {chat ? "messages" : "prompt", "model"}) {
    if (member(body, needed) == nullptr) {
      return invalid(place_of(needed), "missing", "Field required");
    }
  }
  if (auto wrong = chat ? check(body, "", kBoth, kChat) : check(body, "", kBoth, kCompletion)) {
    return wrong;
  }
  if (auto wrong = check_member(body, "stream_options", kStreamOptions)) return wrong;
  if (auto wrong = check_member(body, "response_format", kResponseFormat)) return wrong;
  if (auto wrong = check_member(body, "conversation_params", kConversation)) return wrong;
  if (auto wrong = check_member(body, "disaggregated_params", kDisaggregated)) return wrong;
  if (const Json* params = member(body, "disaggregated_params")) {
    if (auto wrong = check_member(*params, "ctx_usage", kUsage)) return wrong;
    if (member(*params, "request_type") == nullptr) {
      return invalid(", 'disaggregated_params', 'request_type'", "missing", "Field required");
    }
  }
  if (chat) {
    if (auto wrong = check_tools(body)) return wrong;
  }
  return check_values(api, body);
}

}  // namespace baton::adapters::mock::trtllm
