#pragma once

#include "core/log.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

[[nodiscard]] LogOptions log_options(const Config& config);

// RLIMIT_NOFILE up to its hard limit: a connection needs up to three descriptors.
void raise_file_limit();

}  // namespace baton::orchestrator
