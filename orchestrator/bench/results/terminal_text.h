#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baton::orchestrator::bench {

inline constexpr std::size_t kTerminalColumns = 100;

// Text of others (a server's reason, a file name) as it may go to a terminal: control characters
// become '?', and what is longer than `columns` ends in "…".
[[nodiscard]] std::string clip(std::string_view text, std::size_t columns);

// Words on lines of at most kTerminalColumns, each begun by `indent` spaces but for the first,
// which is begun by `head`.
[[nodiscard]] std::string paragraph(std::string_view head, std::string_view text,
                                    std::size_t indent);

[[nodiscard]] std::string with_commas(std::int64_t count);  // 1234567 -> "1,234,567"
[[nodiscard]] std::string bytes_text(double bytes);         // "1.50 MiB"
// `share` of `columns`, in eighths of a column.
[[nodiscard]] std::string bar(double share, std::size_t columns);

// ANSI attributes around a text, or the text itself.
class Style {
 public:
  explicit Style(bool color) : color_(color) {}
  [[nodiscard]] std::string bold(std::string_view text) const { return wrap("\x1b[1m", text); }
  [[nodiscard]] std::string dim(std::string_view text) const { return wrap("\x1b[2m", text); }
  [[nodiscard]] std::string alarm(std::string_view text) const { return wrap("\x1b[1;31m", text); }

 private:
  [[nodiscard]] std::string wrap(std::string_view begin, std::string_view text) const;
  bool color_;
};

}  // namespace baton::orchestrator::bench
