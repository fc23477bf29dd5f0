#include "core/pairing.h"

#include <fmt/format.h>

namespace baton {

std::string why_unpairable(const EngineFacts& prefill, const EngineFacts& decode) {
  switch (what_keeps_apart(prefill, decode)) {
    case Apart::kNothing: return {};
    case Apart::kVersion:
      return fmt::format("{} and {}", prefill.engine_version, decode.engine_version);
    case Apart::kModel:
      return fmt::format("models {} and {}", prefill.model_hash, decode.model_hash);
    case Apart::kBlockSize:
      return fmt::format("blocks of {} and of {} tokens", prefill.block_tokens.count(),
                         decode.block_tokens.count());
    case Apart::kLayout:
      return fmt::format("KV layouts {:016x} and {:016x}", prefill.layout_hash, decode.layout_hash);
  }
  return {};
}

}  // namespace baton
