#pragma once

#include <cstdint>
#include <string>

#include "core/pod.h"

namespace baton {

// What keeps two pods from exchanging KV.
enum class Apart : std::uint8_t { kNothing, kVersion, kModel, kBlockSize, kLayout };

// Whether blocks that one pod computed can be read by the other, as far as both have told what they
// are. The same whichever way round.
//
// Of engines that hand over between unlike block sizes, some do so wrongly without an error (vLLM
// issue 52234), so those are never paired. Unlike tensor-parallel sizes are.
[[nodiscard]] inline Apart what_keeps_apart(const EngineFacts& a, const EngineFacts& b) {
  const auto differ = [](const auto& one, const auto& other, const auto& unknown) {
    return one != other && one != unknown && other != unknown;
  };
  if (differ(a.engine_version, b.engine_version, "")) return Apart::kVersion;
  if (differ(a.model_hash, b.model_hash, "")) return Apart::kModel;
  if (differ(a.block_tokens, b.block_tokens, Tokens(0))) return Apart::kBlockSize;
  if (differ(a.layout_hash, b.layout_hash, std::uint64_t{0})) return Apart::kLayout;
  return Apart::kNothing;
}

// The same in words, such as "vLLM 0.31.0 and vLLM 0.32.0"; empty: nothing does.
[[nodiscard]] std::string why_unpairable(const EngineFacts& prefill, const EngineFacts& decode);

}  // namespace baton
