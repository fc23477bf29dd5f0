#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace baton::adapters::mock {

using Json = nlohmann::ordered_json;

// Bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] inline std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A member that is there and not null; else null.
[[nodiscard]] inline const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

[[nodiscard]] inline bool is_true(const Json& object, const char* name) {
  const Json* found = member(object, name);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

}  // namespace baton::adapters::mock
