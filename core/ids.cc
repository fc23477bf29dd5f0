#include "core/ids.h"

#include <charconv>

namespace baton {
namespace {

std::optional<std::uint64_t> parse_word(std::string_view hex) {
  std::uint64_t word = 0;
  const auto [end, status] = std::from_chars(hex.data(), hex.data() + hex.size(), word, 16);
  if (status != std::errc{} || end != hex.data() + hex.size()) return std::nullopt;
  return word;
}

void append_word(std::string& out, std::uint64_t word) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) out += kDigits[(word >> shift) & 0xF];
}

}  // namespace

std::optional<Id128> Id128::parse(std::string_view hex) {
  if (hex.size() != 32) return std::nullopt;
  const auto high = parse_word(hex.substr(0, 16));
  const auto low = parse_word(hex.substr(16));
  if (!high || !low) return std::nullopt;
  return Id128(*high, *low);
}

std::string Id128::str() const {
  std::string out;
  out.reserve(32);
  append_word(out, high_);
  append_word(out, low_);
  return out;
}

}  // namespace baton
