#include "orchestrator/bench/results/terminal_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace baton::orchestrator::bench {
namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::size_t columns_of(std::string_view text) {
  return text.size() - static_cast<std::size_t>(std::ranges::count_if(text, continues_character));
}

std::size_t bytes_of_columns(std::string_view text, std::size_t columns) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (!continues_character(text[at]) && columns-- == 0) break;
  }
  return at;
}

}  // namespace

std::string clip(std::string_view text, std::size_t columns) {
  std::string clean(text);
  std::ranges::replace_if(clean, [](unsigned char c) { return c < ' ' || c == 0x7F; }, '?');
  if (columns_of(clean) <= columns) return clean;
  clean.resize(bytes_of_columns(clean, columns - 1));
  return clean + "…";
}

std::string paragraph(std::string_view head, std::string_view text, std::size_t indent) {
  std::string out(head);
  std::size_t used = columns_of(head);
  bool begins = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string word = clip(text.substr(0, end), kTerminalColumns - indent);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!begins && used + 1 + columns_of(word) > kTerminalColumns) {
      out.append("\n").append(indent, ' ');
      used = indent;
      begins = true;
    }
    if (!begins) out += ' ';
    used += columns_of(word) + (begins ? 0 : 1);
    out += word;
    begins = false;
  }
  return out + "\n";
}

std::string with_commas(std::int64_t count) {
  std::string digits = std::to_string(count);
  const std::ptrdiff_t first = count < 0 ? 1 : 0;
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > first; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 2, kUnits[unit]);
}

std::string bar(double share, std::size_t columns) {
  constexpr std::array<const char*, 8> kParts = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto whole = static_cast<double>(columns);
  const auto eighths =
      static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * whole * 8));
  std::string blocks;
  for (std::size_t i = 0; i < eighths / 8; ++i) blocks += "█";
  return blocks + kParts[eighths % 8];
}

std::string Style::wrap(std::string_view begin, std::string_view text) const {
  return color_ ? fmt::format("{}{}\x1b[0m", begin, text) : std::string(text);
}

}  // namespace baton::orchestrator::bench
