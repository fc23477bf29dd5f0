#pragma once

#include <string>
#include <vector>

#include "orchestrator/bench/generator/runner.h"

namespace baton::orchestrator::bench {

// Of one core, over the run.
[[nodiscard]] double cpu_share(const GeneratorStats& generator);
// Nearest rank; 0 where there was no open loop.
[[nodiscard]] double send_lag_p99_ms(const GeneratorStats& generator);
// Why the figures of a run are the generator's as much as the target's; empty: they are not.
// `holds_back`: an open loop with a limit of requests in flight sends late on purpose.
[[nodiscard]] std::vector<std::string> unsound_reasons(const GeneratorStats& generator,
                                                       double median_ttft_ms, bool holds_back);

}  // namespace baton::orchestrator::bench
