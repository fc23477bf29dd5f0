#include "core/pod.h"

#include <limits>

namespace baton {

Bytes EngineFacts::kv_bytes(Tokens tokens) const {
  std::int64_t bytes = 0;
  const bool too_many = __builtin_mul_overflow(bytes_per_token.count(), tokens.count(), &bytes);
  return too_many ? Bytes(std::numeric_limits<std::int64_t>::max()) : Bytes(bytes);
}

std::string_view name_of(Role role) {
  switch (role) {
    case Role::kPrefill: return "prefill";
    case Role::kDecode: return "decode";
    case Role::kBoth: return "both";
  }
  return "both";
}

std::optional<Role> role_from_name(std::string_view name) {
  if (name == "prefill") return Role::kPrefill;
  if (name == "decode") return Role::kDecode;
  if (name == "both") return Role::kBoth;
  return std::nullopt;
}

std::string_view name_of(Health health) {
  switch (health) {
    case Health::kUnknown: return "unknown";
    case Health::kHealthy: return "healthy";
    case Health::kEjected: return "ejected";
    case Health::kDraining: return "draining";
  }
  return "unknown";
}

Tokens block_tokens_of(const Snapshot& snapshot) {
  for (const auto& entry : snapshot.pods) {
    if (entry->pod.facts.block_tokens.count() > 0) return entry->pod.facts.block_tokens;
  }
  return Tokens(0);
}

}  // namespace baton
