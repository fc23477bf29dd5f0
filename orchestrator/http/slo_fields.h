#pragma once

#include <string_view>

#include "adapters/http/server.h"
#include "core/error.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

inline constexpr std::string_view kSloTtftField = "x-slo-ttft-ms";
inline constexpr std::string_view kSloTpotField = "x-slo-tpot-ms";

// The pool's objectives, with those that a request asks for in its header fields in their place.
// Errors: kInvalidArgument that names the field.
[[nodiscard]] Result<SloConfig> slo_of_request(SloConfig pool,
                                               const adapters::http::Fields& fields);

}  // namespace baton::orchestrator
