#pragma once

#include "adapters/engines/llama_cpp/engine.h"

namespace baton::adapters {

// Checks what needs no model. Errors: kInvalidArgument, stage kConfig, `param` naming the option.
[[nodiscard]] Result<void> check_options(const EngineOptions& options);

}  // namespace baton::adapters
