#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/openai_request.h"

namespace baton::adapters {

// A whole answer of an OpenAI server as the event stream that it would have been: the answer's own
// members byte for byte, a chunk with all of each choice, for chat one more with how it ended, the
// usage in a chunk of its own where the client asked for it, and [DONE]. Errors: kUpstream, it is
// no such answer.
[[nodiscard]] Result<std::string> stream_of_answer(Api api, std::string_view answer,
                                                   bool include_usage);

}  // namespace baton::adapters
