#include "core/picking/lora_residency.h"

#include <algorithm>

namespace baton {

LoraResidency lora_residency(const PodState& state, const SentAdapters& sent,
                             std::string_view adapter, SentAdapters::Key key) {
  const auto holds = [adapter](const std::vector<std::string>& names) {
    return std::ranges::find(names, adapter) != names.end();
  };
  if (adapter.empty() || holds(state.running_loras) || holds(state.resident_loras)) {
    return LoraResidency::kResident;
  }
  if (const auto use = sent.last_use(key, state.observed_at);
      use && (use->after_then || state.resident_loras.empty()) &&
      use->others_since < std::max(state.max_loras, 1)) {
    return LoraResidency::kResident;
  }
  if (state.max_loras <= 0) return LoraResidency::kLoadable;
  // Adapters that wait for a slot will have taken one by the time this request asks; where this one
  // waits already, its slot is on the way.
  if (holds(state.waiting_loras)) return LoraResidency::kLoadable;
  const auto active = static_cast<int>(state.running_loras.size() + state.waiting_loras.size());
  const auto loaded = static_cast<int>(state.resident_loras.size());
  const int taken = std::max({active, loaded, state.lora_slots_used});
  return taken < state.max_loras ? LoraResidency::kLoadable : LoraResidency::kFull;
}

}  // namespace baton
