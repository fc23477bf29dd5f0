#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json_fields.h"
#include "core/tokenizer.h"

namespace baton {

enum class Api : std::uint8_t { kChat, kCompletions };

struct RequestLimits {
  std::size_t max_depth = 64;
  int max_n = 128;
};

// The few fields of an OpenAI request that routing needs, with the body they were found in. The
// body keeps every unknown field and every number exactly as the client wrote it; changes are
// spliced into it (core/json_fields.h). Owned by the request, immutable after parse().
struct OpenAiRequest {
  Api api = Api::kChat;
  std::string body;
  JsonFields fields;  // positions of the top-level fields in `body`

  std::string model;
  bool stream = false;
  bool include_usage = false;
  std::optional<std::int64_t> max_tokens;  // max_completion_tokens first, then max_tokens
  int n = 1;
  bool has_logprobs = false;
  bool has_echo = false;
  bool prompt_is_batch = false;  // `prompt` is an array of strings or of id arrays
  std::string cache_salt;

  // The prompt in canonical form (canonical_prompt.h): UTF-8 text of tools then messages with role
  // and part separators; or ids where the client sent ids, and then `canonical_text` is empty.
  std::string canonical_text;
  std::vector<TokenId> prompt_ids;

  // Parses and checks. Errors are kInvalidArgument (or kTooLarge) with `param` naming the field:
  // malformed JSON, nesting over the limit, duplicate keys of meaning, wrong types, max_tokens < 1,
  // client-set kv_transfer_params, bootstrap_*, disaggregated_params, missing model or prompt.
  [[nodiscard]] static Result<OpenAiRequest> parse(Api api, std::string body,
                                                   const RequestLimits& limits);
};

}  // namespace baton
