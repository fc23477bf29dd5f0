#pragma once

#include <string>

#include "core/picking/pod_load.h"
#include "core/units.h"
#include "orchestrator/registry/registry.h"

namespace baton::orchestrator {

// The answer of GET /pods: every pool and pod with health, facts, its own figures and what this
// router has in flight there.
[[nodiscard]] std::string pods_json(const PodRegistry& registry, LoadTable& loads, TimePoint now);

}  // namespace baton::orchestrator
