#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace baton::orchestrator {

// The query of a request target ("/plan?model=a%20b&tokens=5"), decoded. Nothing: a malformed
// percent escape, or a name that stands twice.
[[nodiscard]] std::optional<std::map<std::string, std::string, std::less<>>> parse_query(
    std::string_view target);

}  // namespace baton::orchestrator
