#include "orchestrator/bench/workload/trace_lines.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kLineDepth = 32;
constexpr double kMostMilliseconds = 4e12;  // about 127 years; 2096 as a Unix time

}  // namespace

std::unexpected<Error> broken(Place place, std::string what) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("{}:{}: {}", place.file, place.line, what));
}

bool Lines::next() {
  while (!rest_.empty()) {
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    ++number_;
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    if (line_.find_first_not_of(" \t") != std::string_view::npos) return true;
  }
  return false;
}

std::optional<std::int64_t> whole_number(std::string_view text, std::int64_t low,
                                         std::int64_t high) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end || value < low || value > high) return std::nullopt;
  return value;
}

Result<Members> Members::scan(std::string_view object, Place place) {
  auto fields = JsonFields::scan(object, kLineDepth);
  if (!fields) return broken(place, fields.error().message);
  Members members;
  members.text_ = object;
  members.fields_ = std::move(*fields);
  members.place_ = place;
  return members;
}

std::optional<JsonValue> Members::find(std::string_view key) const {
  const JsonField* field = fields_.find(key);
  if (field == nullptr || field->kind == JsonKind::kNull) return std::nullopt;
  return value_of(*field, text_);
}

Result<std::optional<std::int64_t>> Members::integer(std::string_view key, std::int64_t low,
                                                     std::int64_t high) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  if (const auto number = whole_number(value->text, low, high)) return number;
  return broken(place_, fmt::format("{} is no whole number from {} to {}", key, low, high));
}

Result<std::int64_t> Members::needed_integer(std::string_view key, std::int64_t low,
                                             std::int64_t high) const {
  const auto value = integer(key, low, high);
  if (!value) return std::unexpected(value.error());
  if (!*value) return broken(place_, fmt::format("{} is missing", key));
  return **value;
}

Result<std::optional<Duration>> Members::milliseconds(std::string_view key) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  double number = 0;
  const char* end = value->text.data() + value->text.size();
  const auto [at, error] = std::from_chars(value->text.data(), end, number);
  if (value->kind != JsonKind::kNumber || error != std::errc{} || at != end || !(number >= 0) ||
      number > kMostMilliseconds) {
    return broken(place_, fmt::format("{} is no time in milliseconds", key));
  }
  return std::chrono::round<Duration>(std::chrono::duration<double, std::milli>(number));
}

Result<std::optional<std::string>> Members::string(std::string_view key) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  if (value->kind != JsonKind::kString) return broken(place_, fmt::format("{} is no text", key));
  return json_unquote(value->text);
}

}  // namespace baton::orchestrator::bench
