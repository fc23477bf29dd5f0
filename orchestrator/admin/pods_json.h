#pragma once

#include <memory>
#include <span>
#include <string>

#include "core/picking/latency_models.h"
#include "core/picking/learned_sizes.h"
#include "core/picking/pod_load.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::orchestrator {

// What the router learned of its pools; null: nothing is shown of it.
struct LearnedTables {
  LatencyModels* latencies = nullptr;
  LearnedSizesOfPools* sizes = nullptr;
};

// The answer of GET /pods, of one snapshot a pool: every pod with health, facts, its own figures,
// what this router has in flight there and learned of it, and what keeps it from being used or
// paired.
[[nodiscard]] std::string pods_json(std::span<const std::shared_ptr<const Snapshot>> snapshots,
                                    LoadTable& loads, TimePoint now,
                                    const LearnedTables& learned = {});

}  // namespace baton::orchestrator
