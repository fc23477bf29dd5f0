#pragma once

#include <span>
#include <string>
#include <vector>

#include "orchestrator/check/inspect_pods.h"

namespace baton::orchestrator {

// Something that keeps pods from serving as they are configured.
struct Misfit {
  std::vector<std::string> pods;  // by name, in the order of the configuration
  std::string what;
  std::string remedy;  // may be empty
  bool operator==(const Misfit&) const = default;
};

// What does not fit, in the order in which one would put it right: each pod by itself first, then
// those of a pool among each other. Pure.
[[nodiscard]] std::vector<Misfit> find_misfits(std::span<const InspectedPod> pods);

}  // namespace baton::orchestrator
