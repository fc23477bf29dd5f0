#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace baton::orchestrator {

inline constexpr std::size_t kTableColumns = 100;

// A plan as /plan answers it, for people: the candidates of each stage with their terms, the choice
// with its predicted times, and what would change it. No line is over kTableColumns. Errors:
// kUpstream where `json` is no such plan.
[[nodiscard]] Result<std::string> plan_table(std::string_view json);

}  // namespace baton::orchestrator
