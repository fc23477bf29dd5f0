#pragma once

#include "core/picking/latency_model.h"
#include "core/picking/per_pool.h"

namespace baton {

using LatencyModels = PerPool<LatencyModel>;

}  // namespace baton
