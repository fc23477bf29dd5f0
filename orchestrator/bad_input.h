#pragma once

#include <string>
#include <utility>

#include "core/error.h"

namespace baton::orchestrator {

// What somebody typed, or a file that they named, is wrong: says what, where and how to mend it.
[[nodiscard]] inline std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig, std::move(message));
}

}  // namespace baton::orchestrator
