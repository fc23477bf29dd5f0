#pragma once

#include <cstddef>
#include <string>

#include "core/plan.h"

namespace baton::orchestrator {

inline constexpr std::size_t kExplainBytes = 4096;

// A plan as compact JSON for `x-baton-plan`: one line of printable ASCII, at most kExplainBytes;
// candidates are dropped from the end, and counted under "left_out", to keep to that. Names pods,
// never addresses.
[[nodiscard]] std::string explain_json(const Plan& plan);

// For /plan: the same with every candidate, what the chosen option costs by its terms, and the
// alternatives with what would have to be different for them to be taken.
[[nodiscard]] std::string plan_json(const Plan& plan);

}  // namespace baton::orchestrator
