#include "orchestrator/bench/generator/json_skim.h"

#include <charconv>
#include <limits>

#include "core/json_scan.h"

namespace baton::orchestrator::bench {

char JsonSkim::next() {
  while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  return at_ < end_ ? *at_ : '\0';
}

bool JsonSkim::string(std::string_view& inside) {
  if (!take('"')) return false;
  const char* const begin = at_;
  for (;;) {
    at_ = json::find_special(at_, end_);
    if (at_ == end_) return false;
    if (*at_ == '"') break;
    if (*at_ == '\\') {
      if (!escape()) return false;
    } else if (static_cast<unsigned char>(*at_) < 0x20) {
      return false;
    } else {
      while (at_ < end_ && static_cast<unsigned char>(*at_) >= 0x80) ++at_;
    }
  }
  inside = {begin, static_cast<std::size_t>(at_ - begin)};
  ++at_;
  return true;
}

bool JsonSkim::escape() {
  if (end_ - at_ < 2) return false;
  const char c = at_[1];
  if (c == 'u') {
    if (json::hex4(at_ + 2, end_) < 0) return false;
    at_ += 6;
    return true;
  }
  at_ += 2;
  return std::string_view("\"\\/bfnrt").contains(c);
}

bool JsonSkim::word(std::string_view name) {
  if (!std::string_view(at_, static_cast<std::size_t>(end_ - at_)).starts_with(name)) return false;
  at_ += name.size();
  return true;
}

bool JsonSkim::digits() {
  const char* const from = at_;
  while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
  return at_ > from;
}

bool JsonSkim::number(std::string_view& text) {
  const char* const from = at_;
  if (at_ < end_ && *at_ == '-') ++at_;
  if (!digits()) return false;
  if (at_ < end_ && *at_ == '.') {
    ++at_;
    if (!digits()) return false;
  }
  if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) return false;
  }
  text = {from, static_cast<std::size_t>(at_ - from)};
  return true;
}

bool JsonSkim::count(int& value) {
  (void)next();
  std::string_view text;
  if (!number(text)) return false;
  value = 0;
  if (text.starts_with('-')) return true;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure == std::errc::result_out_of_range) value = std::numeric_limits<int>::max();
  return true;
}

bool JsonSkim::skip() {
  std::string_view ignored;
  switch (next()) {
    case '"': return string(ignored);
    case '{': return object([this](std::string_view) { return skip(); });
    case '[': return array([this] { return skip(); });
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return number(ignored);
  }
}

}  // namespace baton::orchestrator::bench
