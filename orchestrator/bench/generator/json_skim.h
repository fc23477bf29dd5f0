#pragma once

#include <cstdint>
#include <string_view>

namespace baton::orchestrator::bench {

// Steps through a JSON text once, checking it on the way, without allocating or building anything.
// A value on the stack; borrows the text. Every function returns false on malformed text, after
// which the object is of no more use. Strings are not checked for UTF-8: servers cut characters.
class JsonSkim {
 public:
  explicit JsonSkim(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // Calls `member` with each key (without quotes, escapes left in), to consume the value.
  template <class F>
  bool object(F&& member) {
    if (!open('{')) return false;
    if (take('}')) return close();
    do {
      std::string_view key;
      if (!string(key) || !take(':') || !member(key)) return false;
    } while (take(','));
    return take('}') && close();
  }
  // Calls `element` before each element, to consume it.
  template <class F>
  bool array(F&& element) {
    if (!open('[')) return false;
    if (take(']')) return close();
    do {
      if (!element()) return false;
    } while (take(','));
    return take(']') && close();
  }
  // `inside` gets what is between the quotes, escapes left in.
  bool string(std::string_view& inside);
  // A number; `value` is its integer part, clamped to [0, 2^31).
  bool count(int& value);
  bool skip();
  // The first character of what comes next; '\0': nothing.
  [[nodiscard]] char next();
  [[nodiscard]] bool at_end() { return next() == '\0' && at_ == end_; }

 private:
  static constexpr int kMaxDepth = 64;
  bool open(char opening) { return take(opening) && ++depth_ <= kMaxDepth; }
  bool close() {
    --depth_;
    return true;
  }
  bool take(char wanted) {
    if (next() != wanted) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view name);
  bool number(std::string_view& text);
  bool digits();
  bool escape();

  const char* at_;
  const char* end_;
  int depth_ = 0;
};

}  // namespace baton::orchestrator::bench
