#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/pod.h"

namespace baton::orchestrator {

// What a pod's metrics say.
struct EngineMetrics {
  PodState state;
  Tokens block_tokens{0};        // 0: not said
  std::uint64_t started_at = 0;  // of the process, in ms since 1970; 0: not said
};

// Load of a pod, its adapters, and what it says of its cache, from the metrics of vLLM, SGLang,
// TensorRT-LLM's server or its backend in Triton, by their names (the table is in the source).
// Nothing: the text has none of them.
[[nodiscard]] std::optional<EngineMetrics> read_engine_metrics(std::string_view text);

}  // namespace baton::orchestrator
