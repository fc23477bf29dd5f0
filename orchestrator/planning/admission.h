#pragma once

#include <cstdint>

#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/plan.h"
#include "core/units.h"
#include "orchestrator/planning/planner.h"

namespace baton::orchestrator {

// What a decode pod steps through at once.
struct DecodeBatch {
  double streams = 0.0;
  double kv_tokens = 0.0;
};

// The batch that the pod will have so many seconds from now, of what the router has committed to it
// until now; each stream lives for `stream_seconds`. Streams that run are at any point of their
// lives, so that they end evenly over that time. Prompts that are still computed were committed
// before one that is ready then: they come evenly until then, and of them those are in that came
// within the last `stream_seconds`. (Mooncake, arXiv 2407.00079, 7.4: a verdict by the batch of the
// present lets too many in while prompts are computed, then too few.)
[[nodiscard]] DecodeBatch batch_later(const PodLoad& load, double seconds, double stream_seconds);

// One way to serve a request, as the planner predicts it.
struct PredictedStart {
  std::uint32_t decode_pod = 0;
  double ttft_seconds = 0.0;
  double first_step_seconds = 0.0;  // of those
  double waiting_seconds = 0.0;     // of those, for other requests: they pass by themselves
};

// Whether it keeps the request's SLO. Pure. What comes after the request is not in it: the batch
// may grow while its tokens come.
[[nodiscard]] SloVerdict judge(const PlanRequest& request, const PredictedStart& start,
                               const PodLoad& decode, const LatencyModel& model, TimePoint now);

// Whole seconds for `retry-after`: at least 1, and at most a minute, also where the SLO would not
// be kept by an idle pool.
[[nodiscard]] int retry_after_seconds(const SloVerdict& verdict);

// What a refused client is told: by how much which bound would be missed, and what to do.
[[nodiscard]] Error refusal(const SloConfig& slo, const SloVerdict& verdict);

}  // namespace baton::orchestrator
