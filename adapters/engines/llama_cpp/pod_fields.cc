#include "adapters/engines/llama_cpp/pod_fields.h"

#include <utility>

namespace baton::adapters {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

const OrderedJson* FieldReader::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::int64_t> FieldReader::integer(const char* name, std::int64_t low,
                                                 std::int64_t high) {
  const OrderedJson* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    refuse(name, "must be an integer");
    return std::nullopt;
  }
  const bool huge = value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX;
  const std::int64_t number = huge ? INT64_MAX : value->get<std::int64_t>();
  if (number < low) {
    refuse(name, "must be at least " + std::to_string(low));
    return std::nullopt;
  }
  if (number > high) {
    refuse(name, "must be at most " + std::to_string(high));
    return std::nullopt;
  }
  return number;
}

std::optional<double> FieldReader::number(const char* name, double low, double high) {
  const OrderedJson* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    refuse(name, "must be a number");
    return std::nullopt;
  }
  const double number = value->get<double>();
  if (!(number >= low && number <= high)) {
    refuse(name, "must be between " + OrderedJson(low).dump() + " and " + OrderedJson(high).dump());
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> FieldReader::text(const char* name) {
  const OrderedJson* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    refuse(name, "must be a string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

bool FieldReader::flag(const char* name, bool otherwise) {
  const OrderedJson* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    refuse(name, "must be true or false");
    return otherwise;
  }
  return value->get<bool>();
}

const OrderedJson* FieldReader::array(const char* name) {
  const OrderedJson* value = find(name);
  if (value == nullptr || value->is_array()) return value;
  refuse(name, "must be an array");
  return nullptr;
}

const OrderedJson* FieldReader::object(const char* name) {
  const OrderedJson* value = find(name);
  if (value == nullptr || value->is_object()) return value;
  refuse(name, "must be an object");
  return nullptr;
}

void FieldReader::refuse(std::string_view name, std::string message) {
  if (error_) return;
  error_ = Error{ErrorCode::kInvalidArgument, Stage::kRouter,
                 std::string(name) + " " + std::move(message), false, std::string(name)};
}

Result<OrderedJson> parse_body(std::string_view body) {
  bool too_deep = false;
  const auto watch_depth = [&too_deep](int depth, OrderedJson::parse_event_t, OrderedJson&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  OrderedJson parsed;
  try {
    parsed = OrderedJson::parse(body, watch_depth);
  } catch (const OrderedJson::parse_error& error) {
    return fail(ErrorCode::kInvalidArgument, Stage::kRouter,
                "the body is not valid JSON, at byte " + std::to_string(error.byte));
  }
  if (too_deep) {
    return fail(ErrorCode::kInvalidArgument, Stage::kRouter,
                "the body is nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  if (!parsed.is_object()) {
    return fail(ErrorCode::kInvalidArgument, Stage::kRouter, "the body must be a JSON object");
  }
  return parsed;
}

}  // namespace baton::adapters
