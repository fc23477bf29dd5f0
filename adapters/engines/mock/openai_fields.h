#pragma once

#include <string>
#include <vector>

#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/json.h"
#include "adapters/engines/mock/tokenizer.h"

namespace baton::adapters::mock {

// The chat template of every mock: tools, then each message with its role before it. Text parts are
// joined; another part stands as its JSON.
[[nodiscard]] std::string render_chat(const Json& body);

// Fills in what the OpenAI API has the same for every engine, from a body whose types were checked:
// sampling, stop strings, logprobs, streaming, salt. Where no seed is given, `drawn_seed` is it.
// Prompts, names and limits are the caller's.
void read_openai_fields(const Json& body, std::uint64_t drawn_seed, Generation& into);

// Which function a forced tool_choice calls and the shape of its arguments, or the shape that a
// response_format or structured_outputs asks for.
void read_shape(const Json& body, Generation& into);

// The value of a numeric member; `otherwise` where it is absent or null.
[[nodiscard]] double number_of(const Json& body, const char* name, double otherwise);
[[nodiscard]] std::int64_t integer_of(const Json& body, const char* name, std::int64_t otherwise);
// Token ids from a list of numbers, which may come as text where the engine takes them so; too
// large ones become the largest.
[[nodiscard]] std::vector<TokenId> token_ids_of(const Json& list);
[[nodiscard]] std::string text_of(const Json& body, const char* name);

}  // namespace baton::adapters::mock
