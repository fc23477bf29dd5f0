#pragma once

#include "core/picking/pick.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::prefill {

// The pods on which the prompt would be computed soonest: cost is predicted seconds to the end of
// prefill, in the terms "queue" (prompts already in flight there), "prefill" (this prompt's
// uncached tokens), "harm" (what computing them costs the streams that run there, in seconds of all
// of them, by request.stream_weight; pods that decode too) and "lora". Pure; at most
// kShortlistPods, cheapest first, none with `rejected_because` unless request.explain, and then
// those come last; of a policy of others the one that it picks.
[[nodiscard]] Candidates shortlist(const PickRequest& request, const Snapshot& snapshot,
                                   const Picking& picking, TimePoint now);

}  // namespace baton::prefill
