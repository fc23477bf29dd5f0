#include "core/json_cursor.h"

#include <algorithm>

namespace baton {
namespace {

JsonKind kind_of(char first) {
  switch (first) {
    case '{': return JsonKind::kObject;
    case '[': return JsonKind::kArray;
    case '"': return JsonKind::kString;
    case 't': return JsonKind::kTrue;
    case 'f': return JsonKind::kFalse;
    case 'n': return JsonKind::kNull;
    default: return JsonKind::kNumber;
  }
}

// One past the string whose opening quote is at `at`.
std::size_t string_end(std::string_view text, std::size_t at) {
  const std::size_t begin = at + 1;
  std::size_t quote = begin;
  while (true) {
    quote = text.find('"', quote);
    std::size_t backslashes = 0;
    while (quote - backslashes > begin && text[quote - backslashes - 1] == '\\') ++backslashes;
    ++quote;
    if (backslashes % 2 == 0) return quote;
  }
}

// One past the array or object that begins at `at`.
std::size_t container_end(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  while (true) {
    const char c = text[at];
    if (c == '"') {
      at = string_end(text, at);
      continue;
    }
    ++at;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return at;
  }
}

}  // namespace

JsonCursor::JsonCursor(JsonValue container)
    : text_(container.text), is_object_(container.kind == JsonKind::kObject) {}

bool JsonCursor::next() {
  skip_filler();
  if (at_ + 1 >= text_.size()) return false;
  if (is_object_) {
    key_ = take_value();
    at_ = text_.find(':', at_) + 1;
    skip_filler();
  }
  value_.kind = kind_of(text_[at_]);
  value_.text = take_value();
  return true;
}

void JsonCursor::skip_filler() {
  at_ = std::min(text_.find_first_not_of(" \t\r\n,", at_), text_.size());
}

std::string_view JsonCursor::take_value() {
  const std::size_t from = at_;
  switch (kind_of(text_[at_])) {
    case JsonKind::kString: at_ = string_end(text_, at_); break;
    case JsonKind::kObject:
    case JsonKind::kArray: at_ = container_end(text_, at_); break;
    default: at_ = text_.find_first_of(" \t\r\n,]}", at_); break;
  }
  return text_.substr(from, at_ - from);
}

}  // namespace baton
