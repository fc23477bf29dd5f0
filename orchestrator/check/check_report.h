#pragma once

#include <span>
#include <string>

#include "orchestrator/check/inspect_pods.h"
#include "orchestrator/check/misfits.h"

namespace baton::orchestrator {

// What `baton check --probe` prints: a table of the pods, and below it a line for each misfit.
[[nodiscard]] std::string check_text(std::span<const InspectedPod> pods,
                                     std::span<const Misfit> misfits);
// The same as one JSON object: `fits`, `pods`, `misfits`.
[[nodiscard]] std::string check_json(std::span<const InspectedPod> pods,
                                     std::span<const Misfit> misfits);

}  // namespace baton::orchestrator
