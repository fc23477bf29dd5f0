#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "core/json_fields.h"

namespace baton {

// A value inside a text that JsonFields::scan() accepted: its kind and its exact bytes.
struct JsonValue {
  JsonKind kind = JsonKind::kNull;
  std::string_view text;
};

[[nodiscard]] inline JsonValue value_of(const JsonField& field, std::string_view text) {
  return {field.kind, text.substr(field.value_begin, field.value_end - field.value_begin)};
}

// Steps through the elements of an array or the members of an object that was scanned before,
// without a tree and without checking again. A value on the stack; borrows the text.
class JsonCursor {
 public:
  // `container` is an array or an object.
  explicit JsonCursor(JsonValue container);

  // The next element or member; false: no more. After it, value() and, in an object, key().
  bool next();
  [[nodiscard]] std::string_view key_literal() const { return key_; }  // with quotes and escapes
  [[nodiscard]] std::string key() const { return json_unquote(key_); }
  [[nodiscard]] JsonValue value() const { return value_; }

 private:
  void skip_filler();  // space and commas
  [[nodiscard]] std::string_view take_value();

  std::string_view text_;
  std::size_t at_ = 1;
  bool is_object_ = false;
  std::string_view key_;
  JsonValue value_;
};

}  // namespace baton
