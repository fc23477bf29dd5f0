#include "core/json_fields.h"

#include <fmt/format.h>
#include <algorithm>
#include <cstring>

#include "core/json_scan.h"

namespace baton {
namespace {

// A request or answer with more members than this at its top is no OpenAI message; the bound keeps
// the table of positions small whatever a client sends.
constexpr std::size_t kMaxFields = 1024;

// One validating pass. On an error every function returns false, with what_ and at_ set.
class Scanner {
 public:
  Scanner(std::string_view text, std::size_t max_depth)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), max_depth_(max_depth) {}

  // The whole text as one object; its members go to `fields`, the offset of its closing brace to
  // `object_end`.
  bool document(std::vector<JsonField>& fields, std::size_t& object_end) {
    skip_space();
    if (at_ == end_ || *at_ != '{') return stop("expected an object");
    if (max_depth_ == 0) return stop_at_depth();
    ++at_;
    if (!members(fields)) return false;
    object_end = offset() - 1;
    skip_space();
    return at_ == end_ || stop("unexpected text after the object");
  }

  [[nodiscard]] Error error() const {
    return {ErrorCode::kInvalidArgument, Stage::kRouter,
            fmt::format("malformed JSON: {} at byte {}", what_, at_ - begin_)};
  }

 private:
  bool stop(std::string what) {
    what_ = std::move(what);
    return false;
  }
  bool stop_at_depth() { return stop(fmt::format("nested deeper than {}", max_depth_)); }

  [[nodiscard]] std::size_t offset() const { return static_cast<std::size_t>(at_ - begin_); }

  void skip_space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool members(std::vector<JsonField>& fields) {
    skip_space();
    if (at_ < end_ && *at_ == '}') return ++at_, true;
    while (true) {
      if (fields.size() == kMaxFields) return stop(fmt::format("over {} members", kMaxFields));
      JsonField& field = fields.emplace_back();
      skip_space();
      field.key_begin = offset();
      if (!string()) return false;
      field.key = json_unquote({begin_ + field.key_begin, offset() - field.key_begin});
      if (!colon()) return false;
      skip_space();
      field.value_begin = offset();
      if (!value(field.kind)) return false;
      field.value_end = offset();
      skip_space();
      if (at_ == end_) return stop("the object is not closed");
      const char c = *at_;
      if (c != ',' && c != '}') return stop("expected ',' or '}'");
      ++at_;
      if (c == '}') return true;
    }
  }

  bool colon() {
    skip_space();
    if (at_ == end_ || *at_ != ':') return stop("expected ':'");
    ++at_;
    return true;
  }

  bool key_and_colon() {
    skip_space();
    return string() && colon();
  }

  // One value of any kind, nested ones without recursion.
  bool value(JsonKind& kind) {
    open_.clear();
    bool first = true;
    while (true) {
      JsonKind this_kind = JsonKind::kNull;
      bool opened = false;
      if (!scalar_or_open(this_kind, opened)) return false;
      if (first) kind = this_kind;
      first = false;
      if (opened) continue;
      if (!close_or_next()) return false;
      if (open_.empty()) return true;
    }
  }

  // Reads a scalar, an empty container, or the beginning of one with contents (`opened`: a value
  // comes next).
  bool scalar_or_open(JsonKind& kind, bool& opened) {
    skip_space();
    if (at_ == end_) return stop("expected a value");
    switch (*at_) {
      case '"': kind = JsonKind::kString; return string();
      case 't': kind = JsonKind::kTrue; return word("true");
      case 'f': kind = JsonKind::kFalse; return word("false");
      case 'n': kind = JsonKind::kNull; return word("null");
      case '{': kind = JsonKind::kObject; return open('{', '}', opened);
      case '[': kind = JsonKind::kArray; return open('[', ']', opened);
      default: kind = JsonKind::kNumber; return number();
    }
  }

  bool open(char opening, char closing, bool& opened) {
    // The object around everything is one level more than open_ holds.
    if (open_.size() + 2 > max_depth_) return stop_at_depth();
    ++at_;
    skip_space();
    if (at_ < end_ && *at_ == closing) return ++at_, true;
    open_.push_back(opening);
    opened = true;
    return opening == '[' || key_and_colon();
  }

  // After a value: closes what ends here and stops before the next value.
  bool close_or_next() {
    while (!open_.empty()) {
      const bool in_object = open_.back() == '{';
      skip_space();
      if (at_ == end_)
        return stop(in_object ? "an object is not closed" : "an array is not closed");
      const char c = *at_;
      if (c == ',') {
        ++at_;
        return !in_object || key_and_colon();
      }
      if (c != (in_object ? '}' : ']')) {
        return stop(in_object ? "expected ',' or '}'" : "expected ',' or ']'");
      }
      ++at_;
      open_.pop_back();
    }
    return true;
  }

  bool word(std::string_view name) {
    if (!std::string_view(at_, static_cast<std::size_t>(end_ - at_)).starts_with(name)) {
      return stop("expected a value");
    }
    at_ += name.size();
    return true;
  }

  bool digits() {
    const char* from = at_;
    while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ > from || stop("malformed number");
  }

  bool number() {
    const char* from = at_;
    if (*at_ == '-') ++at_;
    if (at_ == end_ || *at_ < '0' || *at_ > '9') {
      return stop(at_ == from ? "expected a value" : "malformed number");
    }
    if (*at_ == '0') {
      ++at_;
    } else if (!digits()) {
      return false;
    }
    if (at_ < end_ && *at_ == '.') {
      ++at_;
      if (!digits()) return false;
    }
    if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
      ++at_;
      if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
      if (!digits()) return false;
    }
    return true;
  }

  bool string() {
    if (at_ == end_ || *at_ != '"') return stop("expected a string");
    ++at_;
    while (true) {
      at_ = json::find_special(at_, end_);
      if (at_ == end_) return stop("a string is not closed");
      if (*at_ == '"') return ++at_, true;
      if (*at_ == '\\') {
        if (!escape()) return false;
      } else if (static_cast<unsigned char>(*at_) < 0x20) {
        return stop("control character in a string");
      } else {
        do {
          const std::size_t length = json::utf8_length(at_, end_);
          if (length == 0) return stop("invalid UTF-8");
          at_ += length;
        } while (at_ < end_ && static_cast<unsigned char>(*at_) >= 0x80);
      }
    }
  }

  bool escape() {
    if (end_ - at_ < 2) return stop("a string is not closed");
    if (std::string_view("\"\\/bfnrt").contains(at_[1])) return at_ += 2, true;
    if (at_[1] != 'u') return stop("unknown escape");
    const int unit = json::hex4(at_ + 2, end_);
    if (unit < 0) return stop("malformed \\u escape");
    if (json::is_low_surrogate(unit)) return stop("lone surrogate");
    if (!json::is_high_surrogate(unit)) return at_ += 6, true;
    const bool paired = end_ - at_ >= 12 && at_[6] == '\\' && at_[7] == 'u' &&
                        json::is_low_surrogate(json::hex4(at_ + 8, end_));
    if (!paired) return stop("lone surrogate");
    at_ += 12;
    return true;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  std::size_t max_depth_;
  std::string open_;  // the brackets around at_, but for the outermost
  std::string what_;
};

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

char unescaped(char c) {
  switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c;
  }
}

void append_escaped(std::string& out, unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  switch (byte) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default:
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 0xF];
  }
}

}  // namespace

Result<JsonFields> JsonFields::scan(std::string_view text, std::size_t max_depth) {
  JsonFields found;
  Scanner scanner(text, max_depth);
  if (!scanner.document(found.fields_, found.object_end_)) {
    return std::unexpected(scanner.error());
  }
  return found;
}

const JsonField* JsonFields::find(std::string_view key) const {
  const auto it = std::ranges::find(fields_, key, &JsonField::key);
  return it == fields_.end() ? nullptr : &*it;
}

void JsonPatch::set(std::string_view key, std::string_view json_value) {
  change(key) = Change{std::string(key), std::string(json_value), false};
}

void JsonPatch::erase(std::string_view key) { change(key) = Change{std::string(key), {}, true}; }

JsonPatch::Change& JsonPatch::change(std::string_view key) {
  const auto it = std::ranges::find(changes_, key, &Change::key);
  return it == changes_.end() ? changes_.emplace_back() : *it;
}

std::string JsonPatch::apply(std::string_view text, const JsonFields& fields) const {
  std::size_t room = text.size();
  for (const Change& change : changes_) room += change.key.size() + change.value.size() + 8;
  std::string out;
  out.reserve(room);

  std::vector<bool> written(changes_.size());
  std::size_t read = 0;      // bytes of `text` dealt with
  std::size_t kept_end = 0;  // end of the last member in `out`; 0: none yet
  const auto& all = fields.all();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const JsonField& field = all[i];
    const auto it = std::ranges::find(changes_, field.key, &Change::key);
    const auto which = static_cast<std::size_t>(it - changes_.begin());
    out.append(text, read, field.key_begin - read);
    if (it != changes_.end() && (it->erase || written[which])) {
      // The comma before it goes to its successor; where there is none, it goes too.
      const bool last = i + 1 == all.size();
      read = last ? field.value_end : all[i + 1].key_begin;
      if (last && kept_end != 0) out.resize(kept_end);
      continue;
    }
    if (it == changes_.end()) {
      out.append(text, field.key_begin, field.value_end - field.key_begin);
    } else {
      out.append(text, field.key_begin, field.value_begin - field.key_begin);
      out += it->value;
      written[which] = true;
    }
    read = field.value_end;
    kept_end = out.size();
  }
  if (all.empty()) {
    out.append(text, 0, fields.object_end_);
    read = fields.object_end_;
  }
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    if (changes_[i].erase || written[i]) continue;
    if (kept_end != 0) out += ',';
    out += json_quote(changes_[i].key);
    out += ':';
    out += changes_[i].value;
    kept_end = out.size();
  }
  out.append(text, read);
  return out;
}

std::string json_quote(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  out += '"';
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    const char* plain_end = json::find_special(at, end);
    out.append(at, plain_end);
    at = plain_end;
    if (at == end) break;
    const auto byte = static_cast<unsigned char>(*at);
    if (byte < 0x80) {
      append_escaped(out, byte);
      ++at;
    } else if (const std::size_t length = json::utf8_length(at, end); length > 0) {
      out.append(at, length);
      at += length;
    } else {
      out += "\\ufffd";
      ++at;
    }
  }
  out += '"';
  return out;
}

void json_unquote_to(std::string& out, std::string_view literal) {
  const char* at = literal.data() + 1;
  const char* const end = literal.data() + literal.size() - 1;
  while (at < end) {
    const void* found = std::memchr(at, '\\', static_cast<std::size_t>(end - at));
    const char* plain_end = found == nullptr ? end : static_cast<const char*>(found);
    out.append(at, plain_end);
    at = plain_end;
    if (at == end) break;
    if (at[1] != 'u') {
      out += unescaped(at[1]);
      at += 2;
      continue;
    }
    const int unit = json::hex4(at + 2, end);
    auto code = static_cast<std::uint32_t>(unit);
    at += 6;
    if (json::is_high_surrogate(unit)) {
      const auto low = static_cast<std::uint32_t>(json::hex4(at + 2, end));
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      at += 6;
    }
    append_utf8(out, code);
  }
}

std::string json_unquote(std::string_view literal) {
  std::string out;
  out.reserve(literal.size());
  json_unquote_to(out, literal);
  return out;
}

}  // namespace baton
