#include "orchestrator/bench/generator/completion_facts.h"

#include <algorithm>

#include "core/json_fields.h"
#include "orchestrator/bench/generator/json_skim.h"

namespace baton::orchestrator::bench {
namespace {

// A code that may stand in a table: short, and of characters that no address or text is made of.
bool is_word(std::string_view code) {
  return !code.empty() && code.size() <= 40 && std::ranges::all_of(code, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// One pass over a chunk or an answer.
class Reading {
 public:
  Reading(std::string_view json, std::string* text) : skim_(json), text_(text) {}

  CompletionFacts read() {
    const bool whole =
        skim_.object([this](std::string_view key) { return top_member(key); }) && skim_.at_end();
    if (!whole) return {};
    facts_.is_object = true;
    return facts_;
  }

 private:
  bool top_member(std::string_view key) {
    if (key == "choices" && skim_.next() == '[') {
      facts_.has_choices = true;
      return skim_.array([this] { return choice(); });
    }
    if (key == "usage" && skim_.next() == '{') {
      facts_.has_usage = true;
      return skim_.object([this](std::string_view name) { return usage_member(name); });
    }
    if (key == "error" && skim_.next() != 'n') {
      facts_.has_error = true;
      return error();
    }
    return skim_.skip();
  }

  bool choice() {
    facts_.any_choice = true;
    if (skim_.next() != '{') return skim_.skip();
    return skim_.object([this](std::string_view key) {
      if (key == "text") return piece(true);
      if ((key == "delta" || key == "message") && skim_.next() == '{') {
        return skim_.object([this](std::string_view name) { return delta_member(name); });
      }
      return skim_.skip();
    });
  }

  bool delta_member(std::string_view key) {
    if (key == "content") return piece(true);
    if (key == "reasoning_content" || key == "reasoning") return piece(false);
    if (key == "tool_calls" && skim_.next() == '[') {
      return skim_.array([this] {
        facts_.any_piece = true;
        return skim_.skip();
      });
    }
    return skim_.skip();
  }

  bool piece(bool is_text) {
    if (skim_.next() != '"') return skim_.skip();
    std::string_view inside;
    if (!skim_.string(inside)) return false;
    if (inside.empty()) return true;
    facts_.any_piece = true;
    if (is_text && text_ != nullptr) append(inside);
    return true;
  }

  // Unescaped; a text that is no valid UTF-8 becomes U+FFFD, as a half character would.
  void append(std::string_view inside) {
    const std::string object = "{\"\":\"" + std::string(inside) + "\"}";
    if (JsonFields::scan(object, 2)) {
      json_unquote_to(*text_, std::string_view(object).substr(4, inside.size() + 2));
    } else {
      *text_ += "\xEF\xBF\xBD";
    }
  }

  bool usage_member(std::string_view key) {
    if (key == "prompt_tokens") return count(facts_.prompt_tokens);
    if (key == "completion_tokens") return count(facts_.completion_tokens);
    if (key == "prompt_tokens_details" && skim_.next() == '{') {
      return skim_.object([this](std::string_view name) {
        return name == "cached_tokens" ? count(facts_.cached_tokens) : skim_.skip();
      });
    }
    return skim_.skip();
  }

  bool count(int& value) {
    const char c = skim_.next();
    return c >= '0' && c <= '9' ? skim_.count(value) : skim_.skip();
  }

  bool error() {
    if (skim_.next() != '{') return skim_.skip();
    std::string_view code;
    std::string_view type;
    const bool read = skim_.object([&](std::string_view key) {
      if (key == "code" && skim_.next() == '"') return skim_.string(code);
      if (key == "type" && skim_.next() == '"') return skim_.string(type);
      return skim_.skip();
    });
    if (is_word(code)) {
      facts_.error_code = code;
    } else if (is_word(type)) {
      facts_.error_code = type;
    }
    return read;
  }

  JsonSkim skim_;
  std::string* text_;
  CompletionFacts facts_;
};

}  // namespace

CompletionFacts read_completion(std::string_view json, std::string* text) {
  return Reading(json, text).read();
}

}  // namespace baton::orchestrator::bench
