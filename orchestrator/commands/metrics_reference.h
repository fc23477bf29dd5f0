#pragma once

#include <string>

namespace baton::orchestrator {

// docs/metrics.md: every metric of router and pods, from the tables that the code exports by.
[[nodiscard]] std::string metrics_reference();

}  // namespace baton::orchestrator
