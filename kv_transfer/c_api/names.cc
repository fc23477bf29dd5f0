#include "kv_transfer/c_api/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "kv_transfer/address.h"

namespace baton::kv::c_api {
namespace {

constexpr std::size_t kLongest = 255;

bool is_visible(std::string_view text) {
  return !text.empty() && text.size() <= kLongest &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7F; });
}

}  // namespace

Outcome<std::string> checked_name(const char* text, std::string_view field) {
  if (text == nullptr) return null(field);
  if (is_visible(text)) return std::string(text);
  return wrong(fmt::format("{} must have 1 to {} visible ASCII characters", field, kLongest));
}

Outcome<std::string> checked_address(const char* text, std::string_view field) {
  if (text == nullptr) return null(field);
  const auto address = is_visible(text) ? split_address(text) : std::nullopt;
  std::uint16_t port = 0;
  const char* const end = address ? address->port.data() + address->port.size() : nullptr;
  if (address && !address->host.empty()) {
    const auto [at, failure] = std::from_chars(address->port.data(), end, port);
    if (failure == std::errc() && at == end) return std::string(text);
  }
  return wrong(
      fmt::format("{} \"{}\" is no address: give host:port, as 127.0.0.1:5600 or "
                  "[::1]:5600",
                  field, std::string_view(text).substr(0, kLongest)));
}

}  // namespace baton::kv::c_api
