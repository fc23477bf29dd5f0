#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace baton::orchestrator {

// An error in OpenAI's shape: {"error":{"message","type","param","code"}}, with "stage" where the
// status is 5xx. `code` defaults to the error code's name.
[[nodiscard]] std::string openai_error_json(const Error& error, unsigned status,
                                            std::string_view code = {});

// The same as the last event of a stream that cannot go on.
[[nodiscard]] std::string openai_error_event(const Error& error);

}  // namespace baton::orchestrator
