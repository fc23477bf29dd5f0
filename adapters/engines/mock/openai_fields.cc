#include "adapters/engines/mock/openai_fields.h"

#include <algorithm>

namespace baton::adapters::mock {
namespace {

std::string content_text(const Json* content) {
  if (content == nullptr) return {};
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return dump(*content);
  std::string text;
  for (const Json& part : *content) {
    const Json* piece = member(part, "text");
    text += piece != nullptr && piece->is_string() ? piece->get<std::string>() : dump(part);
  }
  return text;
}

}  // namespace

std::string render_chat(const Json& body) {
  std::string text;
  if (const Json* tools = member(body, "tools")) text += "<|tools|>\n" + dump(*tools) + "\n";
  const Json* messages = member(body, "messages");
  if (messages != nullptr && messages->is_array()) {
    for (const Json& message : *messages) {
      text += "<|" + text_of(message, "role") + "|>\n" + content_text(member(message, "content"));
      if (const Json* calls = member(message, "tool_calls")) text += dump(*calls);
      text += "\n";
    }
  }
  if (is_true(body, "continue_final_message")) {
    if (!text.empty()) text.pop_back();
    return text;
  }
  const Json* prompt = member(body, "add_generation_prompt");
  if (prompt == nullptr || is_true(body, "add_generation_prompt")) text += "<|assistant|>\n";
  return text;
}

void read_openai_fields(const Json& body, std::uint64_t drawn_seed, Generation& into) {
  into.n = static_cast<int>(integer_of(body, "n", 1));
  into.min_tokens = static_cast<int>(integer_of(body, "min_tokens", 0));
  into.ignore_end = is_true(body, "ignore_eos");
  into.include_stop = is_true(body, "include_stop_str_in_output");
  into.greedy = number_of(body, "temperature", 1.0) < 1e-5;
  into.seed = member(body, "seed") != nullptr
                  ? static_cast<std::uint64_t>(integer_of(body, "seed", 0)) * 1000003U
                  : drawn_seed;
  into.salt = text_of(body, "cache_salt");
  into.stream = is_true(body, "stream");
  if (const Json* options = member(body, "stream_options")) {
    into.include_usage = is_true(*options, "include_usage");
    into.continuous_usage = into.include_usage && is_true(*options, "continuous_usage_stats");
  }
  into.echo = is_true(body, "echo");
  into.return_token_ids = is_true(body, "return_token_ids");
  into.tokens_as_ids = is_true(body, "return_tokens_as_token_ids");
  if (const Json* stop = member(body, "stop")) {
    if (stop->is_string()) {
      into.stop.push_back(stop->get<std::string>());
    } else if (stop->is_array()) {
      for (const Json& one : *stop) into.stop.push_back(one.get<std::string>());
    }
  }
  if (const Json* ids = member(body, "stop_token_ids")) {
    for (const Json& id : *ids) into.stop_tokens.push_back(id.get<TokenId>());
  }
  if (into.api == Api::kChat) {
    if (is_true(body, "logprobs")) into.logprobs = integer_of(body, "top_logprobs", 0);
  } else if (member(body, "logprobs") != nullptr) {
    into.logprobs = static_cast<int>(integer_of(body, "logprobs", 0));
  }
  if (member(body, "prompt_logprobs") != nullptr) {
    into.prompt_logprobs = static_cast<int>(integer_of(body, "prompt_logprobs", 0));
  }
}

void read_shape(const Json& body, Generation& into) {
  const Json* tools = member(body, "tools");
  const Json* choice = member(body, "tool_choice");
  if (tools != nullptr && choice != nullptr && !tools->empty()) {
    const bool named = choice->is_object();
    if (named || *choice == "required") {
      const Json* wanted = named ? member(*choice, "function") : nullptr;
      const Json* function = nullptr;
      for (const Json& tool : *tools) {
        const Json* its = member(tool, "function");
        if (its == nullptr) continue;
        if (wanted == nullptr || text_of(*its, "name") == text_of(*wanted, "name")) {
          function = its;
          break;
        }
      }
      if (function != nullptr) {
        into.tool = text_of(*function, "name");
        const Json* parameters = member(*function, "parameters");
        into.tool_shape = parameters == nullptr ? Json() : *parameters;
      }
      return;
    }
  }
  if (const Json* format = member(body, "response_format")) {
    const std::string type = text_of(*format, "type");
    if (type == "json_object") into.tool_shape = Json();
    if (type == "json_schema") {
      const Json* outer = member(*format, "json_schema");
      const Json* schema = outer == nullptr ? nullptr : member(*outer, "schema");
      into.tool_shape = schema == nullptr ? Json() : *schema;
    }
  }
  if (const Json* outputs = member(body, "structured_outputs")) {
    if (const Json* schema = member(*outputs, "json")) {
      into.tool_shape =
          schema->is_string() ? Json::parse(schema->get<std::string>(), nullptr, false) : *schema;
    }
  }
}

double number_of(const Json& body, const char* name, double otherwise) {
  const Json* value = member(body, name);
  return value != nullptr && value->is_number() ? value->get<double>() : otherwise;
}

std::int64_t integer_of(const Json& body, const char* name, std::int64_t otherwise) {
  const Json* value = member(body, name);
  if (value == nullptr || !value->is_number()) return otherwise;
  if (!value->is_number_float()) return value->get<std::int64_t>();
  constexpr double kLimit = 9e18;
  return static_cast<std::int64_t>(std::clamp(value->get<double>(), -kLimit, kLimit));
}

std::vector<TokenId> token_ids_of(const Json& list) {
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    const std::int64_t value =
        id.is_string() ? std::stoll(id.get<std::string>()) : id.get<std::int64_t>();
    ids.push_back(static_cast<TokenId>(std::min<std::int64_t>(value, INT32_MAX)));
  }
  return ids;
}

std::string text_of(const Json& body, const char* name) {
  const Json* value = member(body, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

}  // namespace baton::adapters::mock
