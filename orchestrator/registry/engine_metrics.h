#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/pod.h"

namespace baton::orchestrator {

struct MetricSample {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string>> labels;  // values unescaped
  double value = 0.0;
  [[nodiscard]] std::string_view label(std::string_view name) const;  // empty: absent
};

// Reads Prometheus text exposition format 0.0.4, calling `sample` for each line that is one. Lines
// that are not are left out: a pod's metrics are hints, and one bad line must not hide the others.
// Timestamps and comments are ignored.
void for_each_sample(std::string_view text, const std::function<void(const MetricSample&)>& sample);

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
