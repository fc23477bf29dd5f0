// Whatever a pod answers at /metrics: what is read is in range, and one more bad line changes
// nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "orchestrator/registry/engine_metrics.h"

using baton::orchestrator::read_engine_metrics;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = read_engine_metrics(text);
  const auto again = read_engine_metrics("vllm:num_requests_running{\n" + std::string(text));
  if (read.has_value() != again.has_value()) std::abort();
  if (!read) return 0;
  const baton::PodState& state = read->state;
  if (state.running < 0 || state.waiting < 0 || state.deferred < 0 || state.max_loras < 0 ||
      state.lora_slots_used < 0 || !(state.kv_usage >= 0.0 && state.kv_usage <= 1.0)) {
    std::abort();
  }
  if (state.kv_capacity.count() < 0 || state.prefix_queries.count() < 0 ||
      state.prefix_hits.count() < 0 || read->block_tokens.count() < 0) {
    std::abort();
  }
  const bool same = state.running == again->state.running &&
                    state.running_loras == again->state.running_loras &&
                    state.kv_capacity == again->state.kv_capacity;
  if (!same) std::abort();
  return 0;
}
