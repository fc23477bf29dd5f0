#include "orchestrator/lifecycle/usage.h"

#include <charconv>
#include <string>

namespace baton::orchestrator {
namespace {

std::string_view skip_space(std::string_view text) {
  const std::size_t at = text.find_first_not_of(" \t\r\n");
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

// What follows the colon after `quoted_key`; empty where the key is absent.
std::string_view value_after(std::string_view text, std::string_view quoted_key) {
  const std::size_t at = text.find(quoted_key);
  if (at == std::string_view::npos) return {};
  text = skip_space(text.substr(at + quoted_key.size()));
  if (!text.starts_with(':')) return {};
  return skip_space(text.substr(1));
}

Tokens tokens_at(std::string_view object, std::string_view quoted_key) {
  const std::string_view value = value_after(object, quoted_key);
  std::int64_t count = 0;
  std::from_chars(value.data(), value.data() + value.size(), count);
  return Tokens(count > 0 ? count : 0);
}

}  // namespace

std::optional<Usage> read_usage(std::string_view text) {
  constexpr std::string_view kKey = "\"usage\"";
  constexpr std::string_view kCached = "\"cached_tokens\"";
  for (std::size_t at = text.rfind(kKey); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : text.rfind(kKey, at - 1)) {
    const std::string_view object = value_after(text.substr(at), kKey);
    if (!object.starts_with('{')) continue;
    int depth = 0;
    std::size_t end = 0;
    for (; end < object.size(); ++end) {
      if (object[end] == '{') ++depth;
      if (object[end] == '}' && --depth == 0) break;
    }
    if (end == object.size()) continue;
    const std::string_view whole = object.substr(0, end + 1);
    return Usage{tokens_at(whole, "\"prompt_tokens\""), tokens_at(whole, "\"completion_tokens\""),
                 tokens_at(whole, kCached), !value_after(whole, kCached).empty()};
  }
  return std::nullopt;
}

std::optional<double> read_number(std::string_view object, std::string_view key) {
  const std::string_view value = value_after(object, "\"" + std::string(key) + "\"");
  double number = 0.0;
  const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (failure != std::errc()) return std::nullopt;
  return number;
}

std::string_view read_text(std::string_view object, std::string_view key) {
  std::string_view value = value_after(object, "\"" + std::string(key) + "\"");
  if (!value.starts_with('"')) return {};
  value.remove_prefix(1);
  const std::size_t end = value.find('"');
  return end == std::string_view::npos ? std::string_view() : value.substr(0, end);
}

}  // namespace baton::orchestrator
