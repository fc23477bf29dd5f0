#include "adapters/engines/llama_cpp/chat_template.h"

#include <jinja/caps.h>
#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <json.h>

#include <exception>
#include <utility>

namespace baton::adapters {
namespace {

std::unexpected<Error> refuse(std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, std::move(message), false, "messages");
}

// The text parts of `content`, joined by line ends as llama.cpp and vLLM join them.
Result<std::string> joined_text(const common_json& parts, std::size_t message) {
  const std::string where = "messages[" + std::to_string(message) + "].content";
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const common_json& part = parts[i];
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      return refuse(where + ": each part must be an object with a type");
    }
    const std::string type = part["type"].get<std::string>();
    if (type != "text") return refuse(where + ": this model takes text parts only, not " + type);
    if (!part.contains("text") || !part["text"].is_string()) {
      return refuse(where + ": a text part must have a text");
    }
    if (!text.empty()) text += '\n';
    text += part["text"].get<std::string>();
  }
  return text;
}

// Checks each message; writes content in the form that the template reads.
Result<void> normalize(common_json& messages, bool typed_content_only) {
  if (!messages.is_array() || messages.empty()) {
    return refuse("messages must be an array of at least one message");
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    common_json& message = messages[i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!message.is_object()) return refuse(where + " must be an object");
    if (!message.contains("role") || !message["role"].is_string()) {
      return refuse(where + ".role must be a string");
    }
    if (!message.contains("content")) {
      message["content"] = nullptr;
      continue;
    }
    const common_json& content = message["content"];
    if (content.is_array()) {
      auto text = joined_text(content, i);
      if (!text) return std::unexpected(text.error());
      if (!typed_content_only) message["content"] = *text;
    } else if (content.is_string()) {
      if (typed_content_only) {
        const std::string text = content.get<std::string>();
        common_json part = common_json::object();
        part["type"] = "text";
        part["text"] = text;
        common_json parts = common_json::array();
        parts.push_back(part);
        message["content"] = parts;
      }
    } else if (!content.is_null()) {
      return refuse(where + ".content must be a string or an array of parts");
    }
  }
  return {};
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string source;
  std::string bos_text;
  std::string eos_text;
  jinja::program program;
  bool typed_content_only = false;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(const std::string& source, std::string_view bos_text,
                                         std::string_view eos_text) {
  try {
    auto parsed = std::make_unique<Parsed>();
    jinja::lexer lexer;
    const jinja::lexer_result tokens = lexer.tokenize(source);
    parsed->program = jinja::parse_from_tokens(tokens);
    parsed->source = tokens.source;
    parsed->bos_text = bos_text;
    parsed->eos_text = eos_text;
    const jinja::caps caps = jinja::caps_get(parsed->program);
    parsed->typed_content_only = caps.supports_typed_content && !caps.supports_string_content;
    return ChatTemplate(std::move(parsed));
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                std::string("the model's chat template: ") + error.what(), false, "model");
  }
}

Result<std::string> ChatTemplate::render(const ChatPrompt& prompt) const {
  try {
    common_json messages = common_json::parse(prompt.messages);
    if (auto ok = normalize(messages, parsed_->typed_content_only); !ok) {
      return std::unexpected(ok.error());
    }
    common_json variables = common_json::object();
    if (!prompt.kwargs.empty()) variables = common_json::parse(prompt.kwargs);
    variables["messages"] = messages;
    variables["bos_token"] = parsed_->bos_text;
    variables["eos_token"] = parsed_->eos_text;
    variables["add_generation_prompt"] = prompt.add_generation_prompt;
    if (!prompt.tools.empty()) variables["tools"] = common_json::parse(prompt.tools);

    jinja::context context(parsed_->source);
    jinja::global_from_json(context, variables, false);
    jinja::runtime runtime(context);
    const jinja::value results = runtime.execute(parsed_->program);
    return jinja::runtime::gather_string_parts(results)->as_string().str();
  } catch (const std::exception& error) {
    // Jinja's messages quote the template, never the prompt.
    return refuse(std::string("the model's chat template: ") + error.what());
  }
}

}  // namespace baton::adapters
