#include <fmt/format.h>

#include <array>
#include <cmath>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/sglang/sglang_dress.h"

namespace baton::adapters::mock::sglang {
namespace {

// http_server.py:572: FastAPI's validation errors in the server's own form, as 400.
Answer invalid(std::string_view field, std::string_view type, std::string_view message) {
  return error_answer(
      400, "Bad Request",
      fmt::format("1 validation error:\n  {{'type': '{}', 'loc': ('body'{}), 'msg': '{}'}}", type,
                  field.empty() ? "" : fmt::format(", '{}'", field), message));
}

bool is_whole(const Json& value) {
  if (value.is_number_integer()) return true;
  return value.is_number_float() && std::floor(value.get<double>()) == value.get<double>();
}

bool all_numbers(const Json& list) {
  return std::ranges::all_of(list, [](const Json& one) { return is_whole(one); });
}

bool is_prompt(const Json& value) {
  if (value.is_string()) return true;
  if (!value.is_array()) return false;
  if (all_numbers(value)) return true;
  const auto texts = [](const Json& one) { return one.is_string(); };
  const auto lists = [](const Json& one) { return one.is_array() && all_numbers(one); };
  return std::ranges::all_of(value, texts) || std::ranges::all_of(value, lists);
}

bool is_stop(const Json& value) {
  if (value.is_string()) return true;
  return value.is_array() &&
         std::ranges::all_of(value, [](const Json& one) { return one.is_string(); });
}

bool is_room(const Json& value) {
  return is_whole(value) || (value.is_array() && all_numbers(value));
}

bool is_host(const Json& value) { return value.is_string() || is_stop(value); }

bool is_port(const Json& value) {
  return is_whole(value) || (value.is_array() && std::ranges::all_of(value, [](const Json& one) {
                               return one.is_null() || is_whole(one);
                             }));
}

struct Field {
  const char* name;
  bool (*good)(const Json&);
  std::string_view type;
  std::string_view message;
};

constexpr std::string_view kInteger = "Input should be a valid integer";
constexpr std::string_view kNumber = "Input should be a valid number";
constexpr std::string_view kFlag = "Input should be a valid boolean";
constexpr std::string_view kText = "Input should be a valid string";

bool is_number(const Json& value) { return value.is_number(); }
bool is_flag(const Json& value) { return value.is_boolean(); }
bool is_text(const Json& value) { return value.is_string(); }
bool is_object(const Json& value) { return value.is_object(); }
bool is_list(const Json& value) { return value.is_array(); }
bool is_whole_list(const Json& value) { return value.is_array() && all_numbers(value); }

constexpr std::array kBoth = {
    Field{"model", &is_text, "string_type", kText},
    Field{"max_tokens", &is_whole, "int_type", kInteger},
    Field{"n", &is_whole, "int_type", kInteger},
    Field{"min_tokens", &is_whole, "int_type", kInteger},
    Field{"seed", &is_whole, "int_type", kInteger},
    Field{"top_k", &is_whole, "int_type", kInteger},
    Field{"temperature", &is_number, "float_type", kNumber},
    Field{"top_p", &is_number, "float_type", kNumber},
    Field{"min_p", &is_number, "float_type", kNumber},
    Field{"presence_penalty", &is_number, "float_type", kNumber},
    Field{"frequency_penalty", &is_number, "float_type", kNumber},
    Field{"repetition_penalty", &is_number, "float_type", kNumber},
    Field{"stream", &is_flag, "bool_type", kFlag},
    Field{"ignore_eos", &is_flag, "bool_type", kFlag},
    Field{"stream_options", &is_object, "model_type", "Input should be a valid dictionary"},
    Field{"response_format", &is_object, "model_type", "Input should be a valid dictionary"},
    Field{"stop", &is_stop, "list_type", "Input should be a valid list"},
    Field{"stop_token_ids", &is_whole_list, "list_type", "Input should be a valid list"},
    Field{"bootstrap_room", &is_room, "int_type", kInteger},
    Field{"bootstrap_host", &is_host, "string_type", kText},
    Field{"bootstrap_port", &is_port, "int_type", kInteger},
};
constexpr std::array kChat = {
    Field{"messages", &is_list, "list_type", "Input should be a valid list"},
    Field{"max_completion_tokens", &is_whole, "int_type", kInteger},
    Field{"logprobs", &is_flag, "bool_type", kFlag},
    Field{"top_logprobs", &is_whole, "int_type", kInteger},
    Field{"tools", &is_list, "list_type", "Input should be a valid list"},
    Field{"input_ids", &is_whole_list, "list_type", "Input should be a valid list"},
};
constexpr std::array kCompletion = {
    Field{"prompt", &is_prompt, "string_type", kText},
    Field{"logprobs", &is_whole, "int_type", kInteger},
    Field{"echo", &is_flag, "bool_type", kFlag},
};

template <class Fields>
std::optional<Answer> check_fields(const Fields& fields, const Json& body) {
  for (const Field& field : fields) {
    const Json* value = member(body, field.name);
    if (value != nullptr && !field.good(*value)) {
      return invalid(field.name, field.type, field.message);
    }
  }
  return std::nullopt;
}

// serving_chat.py:798, _validate_request.
std::optional<std::string> check_chat(const Json& body) {
  if (body["messages"].empty()) return "Messages cannot be empty.";
  const Json* tools = member(body, "tools");
  const Json* choice = member(body, "tool_choice");
  const bool none = tools == nullptr || tools->empty();
  if (choice == nullptr) return std::nullopt;
  if (*choice == "required" && none) {
    return "Tools cannot be empty if tool choice is set to required.";
  }
  if (!choice->is_object()) return std::nullopt;
  if (none) return "Tools cannot be empty if tool choice is set to a specific tool.";
  const Json* function = member(*choice, "function");
  const std::string name = function == nullptr ? std::string() : text_of(*function, "name");
  for (const Json& tool : *tools) {
    const Json* its = member(tool, "function");
    if (its != nullptr && text_of(*its, "name") == name) return std::nullopt;
  }
  return fmt::format("Tool '{}' not found in tools list.", name);
}

}  // namespace

std::expected<Json, Answer> parse_body(const http::Request& request) {
  std::string_view type = request.field("content-type");
  type = type.substr(0, type.find(';'));
  if (type != "application/json") {
    return std::unexpected(
        error_answer(400, "Bad Request",
                     "[{'loc': ['header', 'content-type'], 'msg': \"Unsupported Media Type: Only "
                     "'application/json' is allowed\", 'type': 'value_error'}]"));
  }
  Json body = Json::parse(request.body, nullptr, false);
  if (body.is_discarded()) return std::unexpected(invalid("", "json_invalid", "JSON decode error"));
  if (!body.is_object()) {
    return std::unexpected(
        invalid("", "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from"));
  }
  return body;
}

std::optional<Answer> check_types(Api api, const Json& body) {
  const bool chat = api == Api::kChat;
  const char* needed = chat ? "messages" : "prompt";
  if (member(body, needed) == nullptr) return invalid(needed, "missing", "Field required");
  if (auto wrong = check_fields(kBoth, body)) return wrong;
  if (auto wrong = chat ? check_fields(kChat, body) : check_fields(kCompletion, body)) return wrong;
  // protocol.py:398.
  if (!chat && integer_of(body, "max_tokens", 1) <= 0) {
    return invalid("max_tokens", "value_error", "Value error, max_tokens must be positive");
  }
  return std::nullopt;
}

// sampling/sampling_params.py:151, verify.
std::optional<std::string> check_values(Api api, const Json& body, TokenId vocabulary) {
  if (api == Api::kChat) {
    if (auto wrong = check_chat(body)) return wrong;
  } else if (const Json& prompt = body["prompt"];
             prompt.empty() || (prompt.is_string() && prompt.get<std::string>().empty()) ||
             (prompt.is_array() && std::ranges::all_of(prompt, [](const Json& one) {
                return (one.is_string() && one.get<std::string>().empty()) ||
                       (one.is_array() && one.empty());
              }))) {
    return "Prompt cannot be empty";
  }
  const auto number = [&](const char* name, double otherwise) {
    return number_of(body, name, otherwise);
  };
  if (const double value = number("temperature", 1); !std::isfinite(value) || value < 0) {
    return fmt::format("temperature must be a non-negative finite number, got {}.", value);
  }
  if (const double value = number("top_p", 1); value <= 0 || value > 1) {
    return fmt::format("top_p must be in (0, 1], got {}.", value);
  }
  if (const double value = number("min_p", 0); value < 0 || value > 1) {
    return fmt::format("min_p must be in [0, 1], got {}.", value);
  }
  if (const auto value = integer_of(body, "top_k", -1); value < 1 && value != -1) {
    return fmt::format("top_k must be -1 (disable) or at least 1, got {}.", value);
  }
  for (const char* name : {"frequency_penalty", "presence_penalty"}) {
    if (const double value = number(name, 0); value < -2 || value > 2) {
      return fmt::format("{} must be in [-2, 2], got {}.", name, value);
    }
  }
  if (const auto least = integer_of(body, "min_tokens", 0); least < 0) {
    return fmt::format("min_new_tokens must be in [0, max_new_tokens], got {}.", least);
  }
  const bool newer = api == Api::kChat && member(body, "max_completion_tokens") != nullptr;
  const auto most = integer_of(body, newer ? "max_completion_tokens" : "max_tokens",
                               api == Api::kChat ? INT32_MAX : 16);
  if (most < 0) return fmt::format("max_new_tokens must be at least 0, got {}.", most);
  if (const auto least = integer_of(body, "min_tokens", 0); least > most) {
    return fmt::format("min_new_tokens must be in [0, max_new_tokens({})], got {}.", most, least);
  }
  if (const Json* bias = member(body, "logit_bias"); bias != nullptr && bias->is_object()) {
    for (const auto& [token, value] : bias->items()) {
      const int id = std::atoi(token.c_str());
      if (id < 0 || id >= vocabulary) {
        return fmt::format("logit_bias must has keys in [0, {}], got {}.", vocabulary - 1, token);
      }
    }
  }
  return std::nullopt;
}

}  // namespace baton::adapters::mock::sglang
