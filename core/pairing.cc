#include "core/pairing.h"

#include <fmt/format.h>

namespace baton {
namespace {

bool differ(const std::string& a, const std::string& b) {
  return !a.empty() && !b.empty() && a != b;
}

}  // namespace

std::string why_unpairable(const EngineFacts& prefill, const EngineFacts& decode) {
  if (differ(prefill.engine_version, decode.engine_version)) {
    return fmt::format("{} and {}", prefill.engine_version, decode.engine_version);
  }
  if (differ(prefill.model_hash, decode.model_hash)) {
    return fmt::format("models {} and {}", prefill.model_hash, decode.model_hash);
  }
  const std::int64_t mine = prefill.block_tokens.count();
  const std::int64_t theirs = decode.block_tokens.count();
  if (mine != 0 && theirs != 0 && mine != theirs) {
    return fmt::format("blocks of {} and of {} tokens", mine, theirs);
  }
  if (prefill.layout_hash != 0 && decode.layout_hash != 0 &&
      prefill.layout_hash != decode.layout_hash) {
    return fmt::format("KV layouts {:016x} and {:016x}", prefill.layout_hash, decode.layout_hash);
  }
  return {};
}

}  // namespace baton
