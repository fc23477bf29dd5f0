#include "adapters/engines/mock/vllm/request_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/vllm/field_types.h"

namespace baton::adapters::mock::vllm {
namespace {

using Refusal = std::optional<Answer>;

constexpr int kMostPrompts = 1024;  // envs.py, VLLM_MAX_COMPLETION_PROMPTS

bool truthy(const Json* value) {
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_number()) return value->get<double>() != 0;
  return !value->empty();
}

bool truthy(const Json& body, const char* name) { return truthy(member(body, name)); }

Refusal check_cache_salt(const Json& body) {
  const Json* salt = member(body, "cache_salt");
  if (salt == nullptr) return std::nullopt;
  if (!salt->is_string() || salt->get_ref<const std::string&>().empty()) {
    return validation_error("Parameter 'cache_salt' must be a non-empty string if provided.",
                            "cache_salt");
  }
  const auto& text = salt->get_ref<const std::string&>();
  if (text.size() > 128 || text.find_first_of("@/\\") != std::string::npos || text.contains('\0')) {
    return validation_error(
        "Parameter 'cache_salt' must be at most 128 characters and must not contain '@', '/', "
        "'\\\\', or NUL.",
        "cache_salt");
  }
  return std::nullopt;
}

Refusal check_stream_options(const Json& body) {
  if (truthy(body, "stream_options") && !truthy(body, "stream")) {
    return validation_error("Stream options can only be defined when `stream=True`.",
                            "stream_options");
  }
  return std::nullopt;
}

Refusal check_response_format(const Json& body) {
  const Json* format = member(body, "response_format");
  if (format == nullptr || text_of(*format, "type") != "json_schema") return std::nullopt;
  if (member(*format, "json_schema") != nullptr) return std::nullopt;
  return validation_error(
      "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
      "response_format");
}

Refusal check_structured_outputs(Api api, const Json& body) {
  const Json* outputs = member(body, "structured_outputs");
  if (outputs == nullptr) return std::nullopt;
  int kinds = 0;
  for (const char* kind : {"json", "regex", "choice"}) kinds += member(*outputs, kind) != nullptr;
  if (kinds > 1) {
    return validation_error(
        "You can only use one kind of constraints for structured outputs ('json', 'regex' or "
        "'choice').",
        api == Api::kCompletions ? "structured_outputs" : "");
  }
  const Json* choice = member(body, "tool_choice");
  const bool plain_choice =
      choice == nullptr || *choice == "none" || *choice == "auto" || *choice == "required";
  if (api == Api::kChat && kinds > 0 && !plain_choice) {
    return validation_error(
        "You can only either use constraints for structured outputs or tools, not both.");
  }
  return std::nullopt;
}

Refusal must_be_integer(const Json& body, const char* name) {
  const Json* value = member(body, name);
  if (value == nullptr || value->is_number() || value->is_boolean()) return std::nullopt;
  return validation_error(fmt::format("`{}` must be an integer.", name), name, python_str(*value));
}

Refusal check_prompt_logprobs(const Json& body) {
  const Json* value = member(body, "prompt_logprobs");
  if (value == nullptr) return std::nullopt;
  const double wanted = value->is_boolean() ? value->get<bool>() : value->get<double>();
  if (truthy(body, "stream") && (wanted > 0 || wanted == -1)) {
    return validation_error("`prompt_logprobs` are not available when `stream=True`.",
                            "prompt_logprobs");
  }
  if (wanted < 0 && wanted != -1) {
    return validation_error("`prompt_logprobs` must be a positive value or -1.", "prompt_logprobs",
                            python_str(*value));
  }
  return std::nullopt;
}

// completion/protocol.py:489, check_logprobs.
Refusal check_completion_logprobs(const Json& body) {
  const bool has_ids = truthy(body, "logprob_token_ids");
  if (has_ids && truthy(body, "use_beam_search")) {
    return validation_error("`logprob_token_ids` is not supported with beam search.",
                            "logprob_token_ids");
  }
  if (truthy(body, "use_beam_search") && truthy(body, "echo") && member(body, "logprobs")) {
    return validation_error(
        "`echo` with `logprobs` is not supported with beam search because beam search does not "
        "compute prompt logprobs.",
        "echo");
  }
  if (has_ids && member(body, "logprobs") == nullptr) {
    return validation_error("when using `logprob_token_ids`, `logprobs` must be set.",
                            "logprob_token_ids");
  }
  for (const char* name : {"prompt_logprobs", "logprobs"}) {
    if (auto refusal = must_be_integer(body, name)) return refusal;
  }
  if (auto refusal = check_prompt_logprobs(body)) return refusal;
  const double logprobs = number_of(body, "logprobs", 0);
  if (logprobs < 0 && logprobs != -1) {
    return validation_error("`logprobs` must be a positive value or -1.", "logprobs",
                            python_str(*member(body, "logprobs")));
  }
  return std::nullopt;
}

// chat_completion/protocol.py:813, check_logprobs.
Refusal check_chat_logprobs(const Json& body) {
  if (truthy(body, "logprob_token_ids") && !truthy(body, "logprobs")) {
    return validation_error("when using `logprob_token_ids`, `logprobs` must be set to true.",
                            "logprob_token_ids");
  }
  for (const char* name : {"prompt_logprobs", "top_logprobs"}) {
    if (auto refusal = must_be_integer(body, name)) return refusal;
  }
  if (auto refusal = check_prompt_logprobs(body)) return refusal;
  const Json* top = member(body, "top_logprobs");
  if (top == nullptr) return std::nullopt;
  const double wanted = number_of(body, "top_logprobs", 0);
  if (wanted < 0 && wanted != -1) {
    return validation_error("`top_logprobs` must be a positive value or -1.", "top_logprobs",
                            python_str(*top));
  }
  if ((wanted == -1 || wanted > 0) && !truthy(body, "logprobs")) {
    return validation_error("when using `top_logprobs`, `logprobs` must be set to true.",
                            "top_logprobs");
  }
  return std::nullopt;
}

Refusal check_named_tool(const Json& body, const Json& choice) {
  constexpr std::string_view kUsage =
      R"(Correct usage: `{"type": "function", "function": {"name": "my_function"}}`)";
  const auto found = choice.find("function");
  if (found == choice.end() || !found->is_object()) {
    const std::string shown = found == choice.end() ? "None" : python_str(*found);
    return validation_error(
        fmt::format("Invalid value for `function`: `{}` in `tool_choice`! {}", shown, kUsage),
        "tool_choice.function");
  }
  const auto name = found->find("name");
  if (name == found->end()) {
    return validation_error(
        fmt::format("Expected field `name` in `function` in `tool_choice`! {}", kUsage),
        "tool_choice.function.name");
  }
  if (!name->is_string() || name->get_ref<const std::string&>().empty()) {
    return validation_error(fmt::format("Invalid `name` in `function`: `{}` in `tool_choice`! {}",
                                        python_str(*name), kUsage),
                            "tool_choice.function.name");
  }
  for (const Json& tool : body["tools"]) {
    const Json* function = member(tool, "function");
    if (function != nullptr && text_of(*function, "name") == name->get<std::string>()) {
      return std::nullopt;
    }
  }
  return validation_error(
      "The tool specified in `tool_choice` does not match any of the specified `tools`",
      "tool_choice");
}

// chat_completion/protocol.py:910, check_tool_usage.
Refusal check_tools(Json& body) {
  const Json* tools = member(body, "tools");
  if (tools != nullptr && tools->is_array() && tools->empty()) {
    return validation_error(
        "`tools` must not be an empty array. Either provide at least one tool or omit the field "
        "entirely.",
        "tools");
  }
  if (!body.contains("tool_choice") && truthy(tools)) body["tool_choice"] = "auto";
  const Json* choice = member(body, "tool_choice");
  if (choice == nullptr || *choice == "none") return std::nullopt;
  if (member(body, "tools") == nullptr) {
    return validation_error("When using `tool_choice`, `tools` must be set.", "tool_choice");
  }
  if (choice->is_object()) return check_named_tool(body, *choice);
  if (*choice != "auto" && *choice != "required") {
    return validation_error(
        fmt::format("Invalid value for `tool_choice`: {}! Only named tools, \"none\", \"auto\" or "
                    "\"required\" are supported.",
                    python_str(*choice)),
        "tool_choice");
  }
  return std::nullopt;
}

Refusal check_generation_prompt(const Json& body) {
  if (truthy(body, "continue_final_message") && truthy(body, "add_generation_prompt")) {
    return validation_error(
        "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
  }
  return std::nullopt;
}

Refusal check_prompt_given(const Json& body) {
  const Json* prompt = member(body, "prompt");
  const bool no_prompt =
      prompt == nullptr || (prompt->is_string() && prompt->get_ref<const std::string&>().empty());
  const Json* embeds = member(body, "prompt_embeds");
  const bool no_embeds = embeds == nullptr || (embeds->is_array() && embeds->empty());
  if (!no_prompt || !no_embeds) return std::nullopt;
  return validation_error("Either prompt or prompt_embeds must be provided and non-empty.",
                          "prompt");
}

Refusal check_prompt_count(const Json& body) {
  const Json* prompt = member(body, "prompt");
  if (prompt == nullptr || !prompt->is_array() || prompt->empty()) return std::nullopt;
  const bool ids = std::ranges::all_of(*prompt, [](const Json& one) { return one.is_number(); });
  if (ids || prompt->size() <= kMostPrompts) return std::nullopt;
  return validation_error(
      fmt::format("prompt list length {} exceeds the maximum allowed count of {}. To increase this "
                  "limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable.",
                  prompt->size(), kMostPrompts),
      "prompt");
}

void check_common_types(FieldTypes& types) {
  types.text("model");
  types.number("frequency_penalty");
  types.object("logit_bias");
}

// In the order of the fields, in which pydantic complains.
Refusal completion_types(const Json& body) {
  FieldTypes types(body);
  types.text("model");
  types.prompt("prompt");
  types.flag("echo");
  types.number("frequency_penalty");
  types.object("logit_bias");
  types.integer("logprobs");
  types.integer("max_tokens");
  types.integer("n", std::nullopt, false);
  types.number("presence_penalty");
  types.integer("seed", std::nullopt, true, true);
  types.stop("stop");
  types.flag("stream");
  types.stream_options("stream_options");
  types.text("suffix");
  types.number("temperature");
  types.number("top_p");
  types.text("user");
  types.flag("use_beam_search", false);
  types.integer("top_k");
  types.number("min_p");
  types.number("repetition_penalty");
  types.number("length_penalty", false);
  types.integers("stop_token_ids");
  types.flag("include_stop_str_in_output", false);
  types.flag("ignore_eos", false);
  types.integer("min_tokens", std::nullopt, false);
  types.flag("skip_special_tokens", false);
  types.flag("spaces_between_special_tokens", false);
  types.integer("truncate_prompt_tokens", -1);
  types.integers("allowed_token_ids");
  types.integer("prompt_logprobs");
  types.texts("bad_words", false);
  types.flag("add_special_tokens", false);
  types.response_format("response_format");
  types.integer("priority", std::nullopt, false);
  types.flag("return_tokens_as_token_ids");
  types.flag("return_token_ids");
  types.object("kv_transfer_params");
  return types.answer();
}

Refusal chat_types(const Json& body) {
  FieldTypes types(body);
  types.required_list("messages");
  types.messages("messages");
  check_common_types(types);
  types.flag("logprobs");
  types.integer("top_logprobs");
  types.integer("max_tokens");
  types.integer("max_completion_tokens");
  types.integer("n");
  types.number("presence_penalty");
  types.response_format("response_format");
  types.integer("seed", std::nullopt, true, true);
  types.stop("stop");
  types.flag("stream");
  types.stream_options("stream_options");
  types.number("temperature");
  types.number("top_p");
  types.tools("tools");
  types.one_of("reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"});
  types.flag("include_reasoning", false);
  types.flag("parallel_tool_calls");
  types.text("user");
  types.flag("use_beam_search", false);
  types.integer("top_k");
  types.number("min_p");
  types.number("repetition_penalty");
  types.integers("stop_token_ids");
  types.flag("include_stop_str_in_output", false);
  types.flag("ignore_eos", false);
  types.integer("min_tokens", std::nullopt, false);
  types.flag("skip_special_tokens", false);
  types.integer("truncate_prompt_tokens", -1);
  types.integer("prompt_logprobs");
  types.integers("allowed_token_ids");
  types.texts("bad_words", false);
  types.flag("echo", false);
  types.flag("add_generation_prompt", false);
  types.flag("continue_final_message", false);
  types.text("chat_template");
  types.object("chat_template_kwargs");
  types.integer("priority", std::nullopt, false);
  types.flag("return_token_ids");
  types.object("kv_transfer_params");
  return types.answer();
}

// Values that the lax mode takes for another type become that type, so that later stages need not
// ask.
void put_right(Json& body) {
  for (const char* name : {"max_tokens", "max_completion_tokens", "n", "min_tokens", "seed",
                           "logprobs", "top_logprobs", "prompt_logprobs", "top_k", "priority"}) {
    const auto found = body.find(name);
    if (found == body.end()) continue;
    if (found->is_string()) *found = std::stoll(found->get<std::string>());
    if (found->is_number_float()) *found = integer_of(body, name, 0);
    const bool is_flag = std::string_view(name) == "logprobs" && body.contains("messages");
    if (found->is_boolean() && !is_flag) *found = found->get<bool>() ? 1 : 0;
  }
  for (const char* name : {"temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty",
                           "repetition_penalty"}) {
    const auto found = body.find(name);
    if (found != body.end() && found->is_string()) *found = std::stod(found->get<std::string>());
  }
  for (const char* name : {"stream", "echo", "ignore_eos", "return_token_ids"}) {
    const auto found = body.find(name);
    if (found == body.end() || found->is_boolean() || found->is_null()) continue;
    const std::string text = python_str(*found);
    *found = text == "1" || text == "true" || text == "True" || text == "yes" || text == "on" ||
             text == "t" || text == "y";
  }
}

Refusal first_of(std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    if (refusal) return refusal;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Answer> check_conversation(const Json& body) {
  constexpr std::string_view kParts[] = {"text",       "image_url",    "input_audio", "file",
                                         "audio_url",  "image_embeds", "video_url",   "refusal",
                                         "thinking",   "image_pil",    "input_image", "input_text",
                                         "output_text"};
  const Json& messages = body["messages"];
  if (messages.empty()) {
    return error_answer(
        400, "BadRequestError",
        "Cannot apply chat template to an empty conversation. Provide at least one message.");
  }
  for (const Json& message : messages) {
    const Json* content = member(message, "content");
    if (content == nullptr || !content->is_array()) continue;
    for (const Json& part : *content) {
      const bool known = part.is_string() ||
                         (part.is_object() &&
                          std::ranges::find(kParts, text_of(part, "type")) != std::end(kParts));
      // Pydantic's complaint about each of the four kinds of parts follows there.
      if (!known) {
        return error_answer(400, "BadRequestError", "8 validation errors for ValidatorIterator");
      }
    }
  }
  return std::nullopt;
}

std::optional<Answer> check_truncation(const Json& body, Tokens max_model_len) {
  const std::int64_t wanted = integer_of(body, "truncate_prompt_tokens", 0);
  if (wanted <= max_model_len.count()) return std::nullopt;
  return validation_error(
      fmt::format("truncate_prompt_tokens={} cannot be greater than max_model_len = {}. Please "
                  "request a smaller truncation size.",
                  wanted, max_model_len.count()),
      "truncate_prompt_tokens", std::to_string(wanted));
}

std::optional<Answer> check_body(Api api, Json& body) {
  // Pydantic runs the validators that were defined last first.
  Refusal refusal;
  if (api == Api::kCompletions) {
    refusal =
        first_of({check_prompt_count(body), check_prompt_given(body), check_stream_options(body),
                  check_completion_logprobs(body), check_structured_outputs(api, body),
                  check_response_format(body), check_cache_salt(body)});
    if (refusal) return refusal;
    refusal = completion_types(body);
  } else {
    // check_system_message_content_type walks through what is given.
    if (body.contains("messages") && body["messages"].is_null()) {
      return error_answer(400, "BadRequestError", "'NoneType' object is not iterable");
    }
    refusal = check_generation_prompt(body);
    if (!refusal) refusal = check_tools(body);
    if (refusal) return refusal;
    refusal =
        first_of({check_structured_outputs(api, body), check_chat_logprobs(body),
                  check_stream_options(body), check_response_format(body), check_cache_salt(body)});
    if (refusal) return refusal;
    refusal = chat_types(body);
  }
  if (!refusal) put_right(body);
  return refusal;
}

}  // namespace baton::adapters::mock::vllm
