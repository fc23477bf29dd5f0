#pragma once

#include <string>

namespace baton::orchestrator {

// `baton bench --self-check`: measures the load generator against servers of known timing and
// prints each figure beside its target; with `json` (a path, or - for stdout), writes them too.
// Returns the exit status: 3 where a target is missed.
[[nodiscard]] int run_self_check(const std::string& json, bool quick);

}  // namespace baton::orchestrator
