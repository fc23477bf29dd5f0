#include <fmt/format.h>

#include "adapters/engines/mock/vllm/field_types.h"

namespace baton::adapters::mock::vllm {
namespace {

// Reads as CPython's json.decoder does (Lib/json/decoder.py, scanner.py), to find the place and the
// words of its first complaint.
class PythonJson {
 public:
  explicit PythonJson(std::string_view text) : text_(text) {}

  JsonFault find() {
    skip_space();
    if (!value()) return fault_;
    skip_space();
    if (at_ < text_.size()) (void)fail("Extra data", at_);
    return fault_;
  }

 private:
  bool fail(std::string_view message, std::size_t at) {
    fault_ = {std::string(message), at};
    return false;
  }
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").contains(text_[at_])) ++at_;
  }

  bool value() {
    const char c = peek();
    if (c == '"') return string();
    if (c == '{') return object();
    if (c == '[') return array();
    for (const std::string_view word : {"null", "true", "false", "NaN", "Infinity", "-Infinity"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return true;
      }
    }
    return number();
  }

  bool number() {
    std::size_t end = at_;
    if (end < text_.size() && text_[end] == '-') ++end;
    const std::size_t digits = end;
    while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
    if (end == digits) return fail("Expecting value", at_);
    if (text_[digits] == '0') end = digits + 1;
    while (end < text_.size() && std::string_view("0123456789.eE+-").contains(text_[end]) &&
           text_[digits] != '0') {
      ++end;
    }
    at_ = end;
    return true;
  }

  bool string() {
    const std::size_t begin = at_++;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return fail("Invalid control character at", at_);
      if (c != '\\') continue;
      ++at_;
      if (at_ >= text_.size()) break;
      if (!std::string_view("\"\\/bfnrtu").contains(text_[at_])) {
        return fail("Invalid \\escape", at_ - 1);
      }
    }
    return fail("Unterminated string starting at", begin);
  }

  bool object() {
    ++at_;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return true;
    }
    for (;;) {
      if (peek() != '"') return fail("Expecting property name enclosed in double quotes", at_);
      if (!string()) return false;
      skip_space();
      if (peek() != ':') return fail("Expecting ':' delimiter", at_);
      ++at_;
      skip_space();
      if (!value()) return false;
      skip_space();
      if (peek() == '}') break;
      if (peek() != ',') return fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_space();
    }
    ++at_;
    return true;
  }

  bool array() {
    ++at_;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return true;
    }
    for (;;) {
      if (!value()) return false;
      skip_space();
      if (peek() == ']') break;
      if (peek() != ',') return fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_space();
    }
    ++at_;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  JsonFault fault_{"Expecting value", 0};
};

}  // namespace

JsonFault python_json_fault(std::string_view text) { return PythonJson(text).find(); }

}  // namespace baton::adapters::mock::vllm
