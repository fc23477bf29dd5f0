#pragma once

#include <cstdint>
#include <string_view>

#include "core/picking/sent_adapters.h"
#include "core/pod.h"

namespace baton {

// What serving a LoRA adapter on a pod asks for first.
enum class LoraResidency : std::uint8_t {
  kResident,  // nothing: it is loaded, or no adapter is wanted
  kLoadable,  // loading it; also where the pod's slots are unknown
  kFull,      // evicting another adapter, then loading it
};
[[nodiscard]] std::string_view name_of(LoraResidency residency);

// By the pod's last scrape, and by what was sent there since, or ever where the engine does not
// tell which adapters it has loaded. An empty `adapter` is the base model; `key` is its key.
[[nodiscard]] LoraResidency lora_residency(const PodState& state, const SentAdapters& sent,
                                           std::string_view adapter, SentAdapters::Key key);

}  // namespace baton
