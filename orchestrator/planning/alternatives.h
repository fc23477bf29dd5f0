#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/plan.h"

namespace baton::orchestrator {

// What would have been next: of the options weighed, the cheapest with another prefill pod, with
// another decode pod, and of the other kind. `tie_share` is of the cheapest one's predicted TTFT:
// options of the chosen one's kind that cost no more than that above the cheapest tie. Pure.
[[nodiscard]] std::vector<PlanAlternative> alternatives_to(const PlanOption& chosen,
                                                           std::span<const PlanOption> weighed,
                                                           double tie_share);

// Terms of the alternative less those of the chosen option, largest first, without those that are
// the same to the microsecond.
[[nodiscard]] std::vector<PlanTerm> differences(const PlanOption& chosen,
                                                const PlanAlternative& alternative);

// One sentence on what would have to be different for the alternative to be taken, all else equal:
// "p1 instead of p0, if its queue were 12.0 ms shorter".
[[nodiscard]] std::string what_would_change(const PlanOption& chosen,
                                            const PlanAlternative& alternative);

}  // namespace baton::orchestrator
