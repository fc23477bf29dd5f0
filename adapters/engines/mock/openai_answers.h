#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/json.h"

namespace baton::adapters::mock {

// One event of a stream.
[[nodiscard]] std::string sse(const Json& event);

// The members with which every answer begins, and each chunk of a stream: id, object, created,
// model.
[[nodiscard]] Json answer_head(const Work& work, bool stream);

// Logprobs of tokens [first, last) of a choice in the OpenAI API's forms, as engines fill them in
// that add nothing to it; null where none are wanted.
[[nodiscard]] Json chat_logprobs(const Work& work, const Choice& choice, std::size_t first,
                                 std::size_t last);
// Offsets of tokens in the text are -1 where `offsets` is false: not every engine knows them.
[[nodiscard]] Json completion_logprobs(const Work& work, const Choice& choice, std::size_t first,
                                       std::size_t last, bool offsets);

// Seconds since 1970, as answers say when they were made.
[[nodiscard]] std::int64_t unix_seconds();

}  // namespace baton::adapters::mock
