#pragma once

#include <string_view>

#include "core/picking/sent_adapters.h"
#include "core/plan.h"
#include "core/pod.h"

namespace baton {

// By the pod's last scrape, and by what was sent there since, or ever where the engine does not
// tell which adapters it has loaded. An empty `adapter` is the base model; `key` is its key.
[[nodiscard]] LoraResidency lora_residency(const PodState& state, const SentAdapters& sent,
                                           std::string_view adapter, SentAdapters::Key key);

}  // namespace baton
