#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/picking/kv_event.h"

namespace baton::adapters {

enum class KvEventEncoding : std::uint8_t {
  kVllmMap,    // vLLM from 0.24 on
  kVllmBytes,  // the same with VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0: hashes of 32 bytes
  kVllmArray,  // vLLM up to 0.23
  kSglang,
};

// The payload of one message, as the engine's publisher writes it: `[seconds, events, rank]`. What
// an encoding has no member for (adapters and groups with kSglang) is left out.
[[nodiscard]] std::string encode_kv_events(std::span<const KvEvent> events, double seconds,
                                           int rank, KvEventEncoding encoding);

}  // namespace baton::adapters
