#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace baton::adapters {

using OrderedJson = nlohmann::ordered_json;  // tools keep their members' order in the prompt

// Reads the members of a request one by one; absent and null are the same. The first wrong one is
// the error of all: read on and ask once at the end. A value of one parse.
class FieldReader {
 public:
  explicit FieldReader(const OrderedJson& object) : object_(object) {}

  [[nodiscard]] const OrderedJson* find(const char* name) const;  // null: absent or null
  std::optional<std::int64_t> integer(const char* name, std::int64_t low, std::int64_t high);
  std::optional<double> number(const char* name, double low, double high);
  std::optional<std::string> text(const char* name);
  bool flag(const char* name, bool otherwise);
  const OrderedJson* array(const char* name);
  const OrderedJson* object(const char* name);

  void refuse(std::string_view name, std::string message);  // keeps the first
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  const OrderedJson& object_;
  std::optional<Error> error_;
};

// An object of at most 64 levels. Errors: kInvalidArgument with the place.
[[nodiscard]] Result<OrderedJson> parse_body(std::string_view body);

}  // namespace baton::adapters
