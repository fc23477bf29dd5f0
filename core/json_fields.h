#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace baton {

enum class JsonKind : std::uint8_t { kObject, kArray, kString, kNumber, kTrue, kFalse, kNull };

// One top-level member of an object: byte ranges in the text it was read from.
struct JsonField {
  std::string key;  // unescaped
  JsonKind kind = JsonKind::kNull;
  std::size_t key_begin = 0;  // at the opening quote
  std::size_t value_begin = 0;
  std::size_t value_end = 0;  // one past
};

// Top-level members of a JSON object, in order, found in one validating pass (RFC 8259, UTF-8
// checked, depth limited) that builds no tree.
class JsonFields {
 public:
  // Keys may repeat: that is for the caller to judge. Errors: kInvalidArgument with the byte
  // offset; over 1,024 members is one.
  [[nodiscard]] static Result<JsonFields> scan(std::string_view text, std::size_t max_depth = 64);
  [[nodiscard]] const JsonField* find(std::string_view key) const;  // null: absent
  [[nodiscard]] const std::vector<JsonField>& all() const { return fields_; }

 private:
  friend class JsonPatch;
  std::vector<JsonField> fields_;
  std::size_t object_end_ = 0;  // of the closing brace
};

// Changes to top-level members, applied by splicing bytes; everything else stays byte for byte.
// Values are JSON text. Setting an absent member appends it; setting or erasing one twice: the last
// call wins.
class JsonPatch {
 public:
  void set(std::string_view key, std::string_view json_value);
  void erase(std::string_view key);
  [[nodiscard]] std::string apply(std::string_view text, const JsonFields& fields) const;

 private:
  struct Change {
    std::string key;
    std::string value;
    bool erase = false;
  };
  Change& change(std::string_view key);
  std::vector<Change> changes_;
};

// `text` as a JSON string with quotes. Bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string json_quote(std::string_view text);
// The text of a JSON string literal (with its quotes), unescaped. It must have been scanned.
[[nodiscard]] std::string json_unquote(std::string_view literal);
void json_unquote_to(std::string& out, std::string_view literal);  // appends

}  // namespace baton
