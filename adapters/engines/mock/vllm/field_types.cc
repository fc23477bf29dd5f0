#include "adapters/engines/mock/vllm/field_types.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace baton::adapters::mock::vllm {
namespace {

constexpr std::size_t kMostErrors = 10;     // validation.py, _MAX_REPORTED_ERRORS
constexpr std::size_t kLongestInput = 200;  // _MAX_ERROR_INPUT_CHARS

// validation.py, _summarize_error_input.
std::string summary(const Json& value) {
  std::string text;
  if (value.is_object()) return fmt::format("<dict of {} items>", value.size());
  if (value.is_array()) return fmt::format("<list of {} items>", value.size());
  text = value.is_string() ? value.get<std::string>() : python_str(value);
  if (text.size() > kLongestInput) text = text.substr(0, kLongestInput) + "...[truncated]";
  return text;
}

bool parses_as_integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size();
}

bool parses_as_number(std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size();
}

}  // namespace

// Python's repr() of a text: in single quotes unless it has some and no double ones.
std::string python_repr(std::string_view text) {
  const bool doubled = text.contains('\'') && !text.contains('"');
  const char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + quote;
}

Answer error_answer(unsigned status, std::string_view type, std::string message,
                    std::optional<std::string> param) {
  Json error = {{"message", std::move(message)}, {"type", type}};
  error["param"] = param ? Json(*param) : Json();
  error["code"] = status;
  return {status, dump({{"error", std::move(error)}})};
}

Answer validation_error(std::string message, std::string_view param,
                        std::optional<std::string> value) {
  std::string extras;
  if (!param.empty()) extras += fmt::format("parameter={}", param);
  if (value) extras += (extras.empty() ? "value=" : ", value=") + *value;
  if (!extras.empty()) message += " (" + extras + ")";
  return error_answer(400, "BadRequestError", std::move(message),
                      param.empty() ? std::nullopt : std::optional(std::string(param)));
}

std::string python_str(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "None";
    case Json::value_t::boolean: return value.get<bool>() ? "True" : "False";
    case Json::value_t::string: return value.get<std::string>();
    case Json::value_t::number_float: {
      std::string text = fmt::format("{}", value.get<double>());
      return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
    }
    case Json::value_t::array: {
      std::string text = "[";
      for (const Json& element : value) {
        if (text.size() > 1) text += ", ";
        text += element.is_string() ? python_repr(element.get<std::string>()) : python_str(element);
      }
      return text + "]";
    }
    case Json::value_t::object: {
      std::string text = "{";
      for (const auto& [name, element] : value.items()) {
        if (text.size() > 1) text += ", ";
        text += python_repr(name) + ": ";
        text += element.is_string() ? python_repr(element.get<std::string>()) : python_str(element);
      }
      return text + "}";
    }
    default: return dump(value);
  }
}

void FieldTypes::add(std::string_view type, std::string_view param, std::string_view message,
                     const Json& input, std::string_view context) {
  errors_.push_back(
      {std::string(type), std::string(param), std::string(message), input, std::string(context)});
}

std::string FieldTypes::Found::place() const { return param.empty() ? "body" : "body." + param; }

std::string FieldTypes::Found::text() const {
  std::string error =
      fmt::format("{{'type': {}, 'loc': {}, 'msg': {}, 'input': {}", python_repr(type),
                  python_repr(place()), python_repr(message), python_repr(summary(input)));
  if (!context.empty()) error += fmt::format(", 'ctx': {}", context);
  return error + "}";
}

std::optional<Answer> FieldTypes::answer() const {
  if (errors_.empty()) return std::nullopt;
  const std::string_view label = errors_.size() == 1 ? "error" : "errors";
  std::string message = fmt::format("{} validation {}:\n", errors_.size(), label);
  for (std::size_t i = 0; i < std::min(errors_.size(), kMostErrors); ++i) {
    message += "  " + errors_[i].text() + "\n";
  }
  if (errors_.size() > kMostErrors) {
    message += fmt::format("  ...and {} more {}\n", errors_.size() - kMostErrors, label);
  }
  message.pop_back();
  return error_answer(400, "Bad Request", std::move(message), errors_.front().place());
}

const Json* FieldTypes::present(const char* name, bool nullable, std::string_view type,
                                std::string_view message) {
  const auto found = body_.find(name);
  if (found == body_.end()) return nullptr;
  if (!found->is_null()) return &*found;
  if (!nullable) add(type, name, message, *found);
  return nullptr;
}

std::optional<FieldTypes::Wrong> FieldTypes::wrong_integer(const Json& value) {
  if (value.is_number_integer() || value.is_boolean()) return std::nullopt;
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::floor(number) == number) return std::nullopt;
    return Wrong{"int_from_float",
                 "Input should be a valid integer, got a number with a fractional part"};
  }
  if (value.is_string()) {
    if (parses_as_integer(value.get_ref<const std::string&>())) return std::nullopt;
    return Wrong{"int_parsing",
                 "Input should be a valid integer, unable to parse string as an integer"};
  }
  return Wrong{"int_type", "Input should be a valid integer"};
}

std::optional<FieldTypes::Wrong> FieldTypes::wrong_number(const Json& value) {
  if (value.is_number() || value.is_boolean()) return std::nullopt;
  if (value.is_string()) {
    if (parses_as_number(value.get_ref<const std::string&>())) return std::nullopt;
    return Wrong{"float_parsing",
                 "Input should be a valid number, unable to parse string as a number"};
  }
  return Wrong{"float_type", "Input should be a valid number"};
}

void FieldTypes::integer(const char* name, std::optional<std::int64_t> least, bool nullable,
                         bool of_64_bits) {
  const Json* value = present(name, nullable, "int_type", "Input should be a valid integer");
  if (value == nullptr) return;
  constexpr double kLargest = 9223372036854775807.0;
  if (const auto wrong = wrong_integer(*value)) {
    add(wrong->type, name, wrong->message, *value);
  } else if (of_64_bits && value->is_number() && value->get<double>() > kLargest) {
    add("less_than_equal", name, "Input should be less than or equal to 9223372036854775807",
        *value, "{'le': 9223372036854775807}");
  } else if (least && value->is_number_integer() && value->get<std::int64_t>() < *least) {
    add("greater_than_equal", name,
        fmt::format("Input should be greater than or equal to {}", *least), *value,
        fmt::format("{{'ge': {}}}", *least));
  }
}

void FieldTypes::number(const char* name, bool nullable) {
  const Json* value = present(name, nullable, "float_type", "Input should be a valid number");
  if (value == nullptr) return;
  if (const auto wrong = wrong_number(*value)) add(wrong->type, name, wrong->message, *value);
}

void FieldTypes::flag(const char* name, bool nullable) {
  const Json* value = present(name, nullable, "bool_type", "Input should be a valid boolean");
  if (value == nullptr || value->is_boolean()) return;
  if (value->is_number_integer() || value->is_string()) {
    const std::string text = python_str(*value);
    for (const std::string_view good : {"0", "1", "true", "false", "True", "False", "yes", "no",
                                        "on", "off", "t", "f", "y", "n"}) {
      if (text == good) return;
    }
    add("bool_parsing", name, "Input should be a valid boolean, unable to interpret input", *value);
    return;
  }
  add("bool_type", name, "Input should be a valid boolean", *value);
}

void FieldTypes::text(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value != nullptr && !value->is_string()) {
    add("string_type", name, "Input should be a valid string", *value);
  }
}

void FieldTypes::object(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value != nullptr && !value->is_object()) {
    add("dict_type", name, "Input should be a valid dictionary", *value);
  }
}

void FieldTypes::add_elements(const Json& list, const std::string& param,
                              std::optional<Wrong> (*wrong)(const Json&)) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (const auto what = wrong(list[i])) {
      add(what->type, fmt::format("{}.{}", param, i), what->message, list[i]);
    }
  }
}

void FieldTypes::integers(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr) return;
  if (!value->is_array()) return add("list_type", name, "Input should be a valid list", *value);
  add_elements(*value, name, &FieldTypes::wrong_integer);
}

void FieldTypes::texts(const char* name, bool nullable) {
  const Json* value = present(name, nullable, "list_type", "Input should be a valid list");
  if (value == nullptr) return;
  if (!value->is_array()) return add("list_type", name, "Input should be a valid list", *value);
  add_elements(*value, name, [](const Json& element) {
    return element.is_string()
               ? std::nullopt
               : std::optional(Wrong{"string_type", "Input should be a valid string"});
  });
}

void FieldTypes::one_of(const char* name, std::initializer_list<std::string_view> values) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr) return;
  std::string expected;
  std::size_t i = 0;
  for (const std::string_view one : values) {
    if (value->is_string() && value->get_ref<const std::string&>() == one) return;
    if (i > 0) expected += i + 1 == values.size() ? " or " : ", ";
    expected.append("'").append(one).append("'");
    ++i;
  }
  add("literal_error", name, "Input should be " + expected, *value,
      fmt::format("{{'expected': {}}}", python_repr(expected)));
}

void FieldTypes::stop(const char* name) {
  const Json* value = present(name, true, "", "");
  constexpr std::size_t kMost = 4;  // envs.py, VLLM_MAX_STOP_STRINGS
  if (value == nullptr || value->is_string()) return;
  bool good = value->is_array() && value->size() <= kMost;
  for (const Json& one : *value) good = good && one.is_string();
  if (good) return;
  add("string_type", name, "Input should be a valid string", *value);
  if (value->is_array() && value->size() > kMost) {
    add("too_long", name,
        fmt::format("List should have at most {} items after validation, not {}", kMost,
                    value->size()),
        *value,
        fmt::format("{{'field_type': 'List', 'max_length': {}, 'actual_length': {}}}", kMost,
                    value->size()));
  } else {
    texts(name);
  }
}

// A union of four, of which pydantic tells every one's complaint in the order of
// completion/protocol.py:55.
void FieldTypes::prompt(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr || value->is_string()) return;
  const auto not_list = [&] { add("list_type", name, "Input should be a valid list", *value); };
  const auto text_wrong = [&] {
    add("string_type", name, "Input should be a valid string", *value);
  };
  if (!value->is_array()) {
    not_list();
    not_list();
    text_wrong();
    not_list();
    return;
  }
  const auto all = [&](auto good) {
    for (const Json& one : *value) {
      if (!good(one)) return false;
    }
    return true;
  };
  const auto is_id = [](const Json& one) {
    return !wrong_integer(one) && (!one.is_number_integer() || one.get<std::int64_t>() >= 0);
  };
  const auto is_ids = [&](const Json& one) {
    if (!one.is_array()) return false;
    for (const Json& id : one) {
      if (!is_id(id)) return false;
    }
    return true;
  };
  if (all(is_id) || all(is_ids) || all([](const Json& one) { return one.is_string(); })) return;
  const std::string place(name);
  const auto check_id = [&](const Json& id, const std::string& at) {
    if (const auto wrong = wrong_integer(id)) {
      add(wrong->type, at, wrong->message, id);
    } else if (!is_id(id)) {
      add("greater_than_equal", at, "Input should be greater than or equal to 0", id, "{'ge': 0}");
    }
  };
  for (std::size_t i = 0; i < value->size(); ++i) {
    const Json& one = (*value)[i];
    check_id(one, fmt::format("{}.{}", place, i));
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    const Json& one = (*value)[i];
    const std::string at = fmt::format("{}.{}", place, i);
    if (!one.is_array()) {
      add("list_type", at, "Input should be a valid list", one);
      continue;
    }
    for (std::size_t j = 0; j < one.size(); ++j) check_id(one[j], fmt::format("{}.{}", at, j));
  }
  text_wrong();
  texts(name);
}

void FieldTypes::stream_options(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr) return;
  if (!value->is_object()) {
    add("model_attributes_type", name,
        "Input should be a valid dictionary or object to extract fields from", *value);
    return;
  }
  FieldTypes inner(*value);
  inner.flag("include_usage");
  inner.flag("continuous_usage_stats");
  for (const Found& found : inner.errors_) {
    add(found.type, fmt::format("{}.{}", name, found.param), found.message, found.input);
  }
}

// chat_completion/protocol.py: messages of eight types, of which pydantic tells every one's
// complaint. Only what every type complains of is looked for.
// Of a union of eleven, in which most kinds complain of the role as well: the first kind's words.
void FieldTypes::check_content(const Json& message, const std::string& at) {
  const Json* content = member(message, "content");
  if (content == nullptr || content->is_string() || content->is_array()) return;
  constexpr int kComplaints = 22;
  const std::string place = at + ".ChatCompletionDeveloperMessageParam.content";
  for (int i = 0; i < kComplaints; i += 2) {
    add("string_type", place, "Input should be a valid string", *content);
    add("iterable_type", place, "Input should be iterable", *content);
  }
}

void FieldTypes::messages(const char* name) {
  constexpr std::string_view kKinds[] = {
      "ChatCompletionDeveloperMessageParam", "ChatCompletionSystemMessageParam",
      "ChatCompletionUserMessageParam",      "ChatCompletionAssistantMessageParam",
      "ChatCompletionToolMessageParam",      "ChatCompletionFunctionMessageParam",
      "CustomChatCompletionMessageParam"};
  const auto list = body_.find(name);
  if (list == body_.end() || !list->is_array()) return;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& message = (*list)[i];
    const std::string at = fmt::format("{}.{}", name, i);
    if (message.is_object() && message.contains("role")) {
      check_content(message, at);
      continue;
    }
    for (const std::string_view kind : kKinds) {
      if (!message.is_object()) {
        add("dict_type", fmt::format("{}.{}", at, kind), "Input should be a valid dictionary",
            message);
        continue;
      }
      const auto missing = [&](std::string_view field) {
        add("missing", fmt::format("{}.{}.{}", at, kind, field), "Field required", message);
      };
      if (kind.contains("Function") && !message.contains("name")) missing("name");
      missing("role");
      if (kind.contains("Tool") && !message.contains("tool_call_id")) missing("tool_call_id");
    }
    if (!message.is_object()) {
      add("model_attributes_type", at + ".Message",
          "Input should be a valid dictionary or object to extract fields from", message);
    } else {
      add("missing", at + ".Message.author", "Field required", message);
      add("missing", at + ".Message.content", "Field required", message);
    }
  }
}

void FieldTypes::tools(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr) return;
  if (!value->is_array()) return add("list_type", name, "Input should be a valid list", *value);
  for (std::size_t i = 0; i < value->size(); ++i) {
    const Json& tool = (*value)[i];
    const std::string at = fmt::format("{}.{}", name, i);
    if (!tool.is_object()) {
      add("model_attributes_type", at,
          "Input should be a valid dictionary or object to extract fields from", tool);
    } else if (!tool.contains("function")) {
      add("missing", at + ".function", "Field required", tool);
    } else if (tool["function"].is_object() && !tool["function"].contains("name")) {
      add("missing", at + ".function.name", "Field required", tool["function"]);
    }
  }
}

// generate/base/protocol.py, AnyResponseFormat: one of three models.
void FieldTypes::response_format(const char* name) {
  const Json* value = present(name, true, "", "");
  if (value == nullptr) return;
  if (!value->is_object()) {
    for (int i = 0; i < 3; ++i) {
      add("model_attributes_type", name,
          "Input should be a valid dictionary or object to extract fields from", *value);
    }
    return;
  }
  const Json* type = member(*value, "type");
  for (const char* known : {"text", "json_object", "json_schema", "structural_tag"}) {
    if (type != nullptr && *type == known) return;
  }
  const std::string at = fmt::format("{}.type", name);
  const auto wrong_type = [&](std::string_view expected) {
    if (type == nullptr) return add("missing", at, "Field required", *value);
    add("literal_error", at, fmt::format("Input should be {}", expected), *type,
        fmt::format("{{'expected': {}}}", python_repr(expected)));
  };
  const auto missing = [&](const char* field) {
    if (!value->contains(field)) {
      add("missing", fmt::format("{}.{}", name, field), "Field required", *value);
    }
  };
  wrong_type("'text', 'json_object' or 'json_schema'");
  wrong_type("'structural_tag'");
  missing("format");
  wrong_type("'structural_tag'");
  missing("structures");
  missing("triggers");
}

void FieldTypes::required_list(const char* name) {
  const auto found = body_.find(name);
  if (found == body_.end()) return add("missing", name, "Field required", body_);
  if (!found->is_array()) add("list_type", name, "Input should be a valid list", *found);
}

}  // namespace baton::adapters::mock::vllm
