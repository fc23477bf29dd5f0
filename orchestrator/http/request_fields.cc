#include "orchestrator/http/request_fields.h"

#include <algorithm>
#include <array>

namespace baton::orchestrator {
namespace {

constexpr std::array<std::string_view, 8> kRoutingPrefixes = {
    "x-baton-",      "x-gateway-",       "x-prefiller", "x-decoder",
    "x-kv-transfer", "x-data-parallel-", "x-disagg",    "x-llm-d-",
};
constexpr std::string_view kExplain = "x-baton-explain";

bool is_lower_hex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view hex) { return hex.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

bool is_safe_request_id(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  return std::ranges::all_of(id, [](char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != ',' && c != ';';
  });
}

bool is_traceparent(std::string_view value) {
  if (value.size() != 55 || !value.starts_with("00-") || value[35] != '-' || value[52] != '-') {
    return false;
  }
  const std::string_view trace = value.substr(3, 32);
  const std::string_view parent = value.substr(36, 16);
  return is_lower_hex(trace) && is_lower_hex(parent) && is_lower_hex(value.substr(53)) &&
         !is_zero(trace) && !is_zero(parent);
}

int count_routing_fields(const adapters::http::Fields& fields) {
  int count = 0;
  for (const auto& [name, value] : fields) {
    if (!name.starts_with("x-") || name == kExplain) continue;
    if (std::ranges::any_of(kRoutingPrefixes,
                            [&](std::string_view prefix) { return name.starts_with(prefix); })) {
      ++count;
    }
  }
  return count;
}

}  // namespace baton::orchestrator
