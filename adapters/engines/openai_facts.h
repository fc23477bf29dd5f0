#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/units.h"

namespace baton::adapters {

// What connectors read from what engines tell of themselves.

// The member of an object; empty or 0 where it is absent or of another type.
[[nodiscard]] std::string text_member(const nlohmann::json& object, const char* key);
[[nodiscard]] std::int64_t integer_member(const nlohmann::json& object, const char* key);

// The text as an object. Errors: it is none, with `target` as what was asked for.
[[nodiscard]] Result<nlohmann::json> object_from(std::string_view target, std::string_view text);

// What /v1/models says of the model that it lists first; adapters come behind it.
struct ListedModel {
  std::string id;
  Tokens max_context{0};  // `max_model_len`; 0: it does not say
};
// `owner` is what the engine writes as `owned_by`. Errors: it lists no model; not retryable: it is
// another engine's list.
[[nodiscard]] Result<ListedModel> first_model_in(std::string_view models, std::string_view owner);

// Equal for equal texts in the same order; never 0.
[[nodiscard]] std::uint64_t fingerprint_of(std::initializer_list<std::string_view> texts);

}  // namespace baton::adapters
