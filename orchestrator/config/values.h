#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace baton::orchestrator {

struct PodUrl {
  std::string host;
  std::uint16_t port = 0;
};

// "http://HOST:PORT", also with an IPv6 address in brackets; a "/" may end it.
[[nodiscard]] std::optional<PodUrl> parse_pod_url(std::string_view text);

// "4096", "256KiB", "10MiB", "1GiB", "2TiB" (powers of 1024) or "10kB", "10MB", "1GB" (of 1000).
[[nodiscard]] std::optional<std::int64_t> parse_size(std::string_view text);
// The shortest of those forms.
[[nodiscard]] std::string format_size(std::int64_t bytes);

// The candidate with the least edit distance (insert, delete, replace, swap of neighbours), if it
// is near enough to be what was meant.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 std::span<const std::string> candidates);

}  // namespace baton::orchestrator
