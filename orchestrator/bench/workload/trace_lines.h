#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json_cursor.h"
#include "core/json_fields.h"
#include "core/units.h"

namespace baton::orchestrator::bench {

// What the trace readers share.

// A place in a file, for errors.
struct Place {
  std::string_view file;
  std::size_t line = 0;
};
[[nodiscard]] std::unexpected<Error> broken(Place place, std::string what);

// Steps through the lines of a text that are not blank, without their CR and LF.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next();
  [[nodiscard]] std::string_view line() const { return line_; }
  [[nodiscard]] std::size_t number() const { return number_; }  // from 1

 private:
  std::string_view rest_;
  std::string_view line_;
  std::size_t number_ = 0;
};

// Members of a JSON object that must be of a kind. Borrows the text; errors name the place.
class Members {
 public:
  [[nodiscard]] static Result<Members> scan(std::string_view object, Place place);
  // nullopt: absent or null.
  [[nodiscard]] std::optional<JsonValue> find(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t low,
                                                            std::int64_t high) const;
  [[nodiscard]] Result<std::int64_t> needed_integer(std::string_view key, std::int64_t low,
                                                    std::int64_t high) const;
  [[nodiscard]] Result<std::optional<Duration>> milliseconds(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::string>> string(std::string_view key) const;
  [[nodiscard]] Place place() const { return place_; }

 private:
  std::string_view text_;
  JsonFields fields_;
  Place place_;
};

// A whole number in [low, high], and nothing else in the text.
[[nodiscard]] std::optional<std::int64_t> whole_number(std::string_view text, std::int64_t low,
                                                       std::int64_t high);

// Sorts by time, those of one time as they were, and makes the first time 0; returns how many
// entries were behind an earlier one. `at` gives a reference to an entry's time.
template <class Entry, class At>
std::size_t sort_by_time(std::vector<Entry>& entries, At at) {
  std::size_t out_of_order = 0;
  std::vector<std::pair<Duration, std::size_t>> order;
  Duration latest = Duration::min();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    order.emplace_back(at(entries[i]), i);
    if (order.back().first < latest) ++out_of_order;
    latest = std::max(latest, order.back().first);
  }
  if (out_of_order > 0) {
    std::ranges::sort(order);
    std::vector<Entry> sorted;
    sorted.reserve(entries.size());
    for (const auto& [time, i] : order) sorted.push_back(std::move(entries[i]));
    entries = std::move(sorted);
  }
  for (Entry& entry : entries) at(entry) -= order.front().first;
  return out_of_order;
}

}  // namespace baton::orchestrator::bench
