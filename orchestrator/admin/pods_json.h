#pragma once

#include <memory>
#include <span>
#include <string>

#include "core/picking/pod_load.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::orchestrator {

// The answer of GET /pods, of one snapshot a pool: every pod with health, facts, its own figures,
// what this router has in flight there, and what keeps it from being used or paired.
[[nodiscard]] std::string pods_json(std::span<const std::shared_ptr<const Snapshot>> snapshots,
                                    LoadTable& loads, TimePoint now);

}  // namespace baton::orchestrator
