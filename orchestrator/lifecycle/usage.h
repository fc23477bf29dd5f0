#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/units.h"

namespace baton::orchestrator {

// What an engine says that a request cost.
struct Usage {
  Tokens prompt{0};
  Tokens completion{0};
  Tokens cached{0};           // of the prompt, held by the pod that prefilled it
  bool tells_cached = false;  // else `cached` is 0 because the engine does not say
};

// The last `"usage":{…}` of an answer's body or of a stream's last bytes, found without parsing the
// rest: a key with unescaped quotes cannot stand inside a JSON string. None where there is none, or
// it is null or cut off.
[[nodiscard]] std::optional<Usage> read_usage(std::string_view text);

// The value of a flat JSON object's number, by the same means; none where it is absent.
[[nodiscard]] std::optional<double> read_number(std::string_view object, std::string_view key);

// The same for a text without escapes; empty where it is absent.
[[nodiscard]] std::string_view read_text(std::string_view object, std::string_view key);

}  // namespace baton::orchestrator
