#pragma once

#include "core/picking/pick.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::decode {

// The pods that would decode the answer soonest, after a prefill elsewhere and as the only pod of
// the request. Cost is predicted seconds from the end of prefill to the last token, in the terms
// "admit" (prompt tokens that are to be computed there first), "transfer" (the prompt's KV that it
// does not hold, as if nothing of it were hidden under prefill), "room" (until its KV has room for
// the request), "step" (the first token), "tokens" (the rest of the answer: by the pod's running
// sequences and reserved KV, weighed by kPaceWeight, and whole what prompts will stop it, by the
// share of time that they take; both by request.stream_weight) and "lora". Of the only pod
// "prefill" (the prompt's uncached tokens) and "harm" (what computing them costs the streams that
// run there, as in the prefill router) stand in the place of "transfer".
struct Shortlists {
  Candidates pairs;
  Candidates singles;
};
// What is asked for: scoring both takes little longer than one.
enum class Wanted : std::uint8_t { kPairs, kSingles, kBoth };

// Pure; in each at most kShortlistPods, cheapest first, none with `rejected_because` unless
// request.explain, and then those come last; of a policy of others the one that it picks.
[[nodiscard]] Shortlists shortlists(Wanted wanted, const PickRequest& request,
                                    const Snapshot& snapshot, const Picking& picking,
                                    TimePoint now);

}  // namespace baton::decode
