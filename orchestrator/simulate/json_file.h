#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"

namespace baton::orchestrator::simulate {

// Errors: kInvalidArgument, "FILE: …" or "FILE:LINE: …".
[[nodiscard]] Result<nlohmann::ordered_json> read_json_file(const std::string& path);

}  // namespace baton::orchestrator::simulate
