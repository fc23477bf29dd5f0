#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/plan.h"

namespace baton::orchestrator {

// Seconds by which costs may differ and be the same for all that predictions are worth, and for all
// that anybody notices. Of the TTFT, since the tokens after the first cost about the same
// everywhere and would drown what a held prefix saves.
[[nodiscard]] constexpr double tie_margin(double ttft_seconds) {
  return std::max(0.05 * ttft_seconds, 5e-3);
}

// What would have been next: of the options weighed, the cheapest with another prefill pod, with
// another decode pod, and of the other kind. Options of the chosen one's kind tie that cost no more
// than tie_margin() above the cheapest. Pure.
[[nodiscard]] std::vector<PlanAlternative> alternatives_to(const PlanOption& chosen,
                                                           std::span<const PlanOption> weighed);

// Terms of the alternative less those of the chosen option, largest first, without those that are
// the same to the microsecond.
[[nodiscard]] std::vector<PlanTerm> differences(const PlanOption& chosen,
                                                const PlanAlternative& alternative);

// One sentence on what would have to be different for the alternative to be taken, all else equal:
// "p1 instead of p0, if its queue were 12.0 ms shorter".
[[nodiscard]] std::string what_would_change(const PlanOption& chosen,
                                            const PlanAlternative& alternative);

}  // namespace baton::orchestrator
