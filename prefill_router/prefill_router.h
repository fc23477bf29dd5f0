#pragma once

#include <vector>

#include "core/picking/pick.h"
#include "core/plan.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::prefill {

// The pods on which the prompt would be computed soonest: cost is predicted seconds to the end of
// prefill, in the terms "queue" (uncached tokens already in flight there), "prefill" (this prompt's
// uncached tokens) and "lora". Pure; at most kShortlistPods, cheapest first, none with
// `rejected_because` unless request.explain, and then those come last.
[[nodiscard]] std::vector<PlanCandidate> shortlist(const PickRequest& request,
                                                   const Snapshot& snapshot, const Picking& picking,
                                                   TimePoint now);

}  // namespace baton::prefill
