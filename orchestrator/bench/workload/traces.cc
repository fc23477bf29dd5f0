#include "orchestrator/bench/workload/traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include "orchestrator/bench/workload/trace_lines.h"

namespace baton::orchestrator::bench {
namespace {

constexpr auto kByTime = [](auto& entry) -> Duration& { return entry.at; };

Result<std::vector<std::uint64_t>> read_hash_ids(const Members& line) {
  std::vector<std::uint64_t> ids;
  const auto list = line.find("hash_ids");
  if (!list) return ids;
  if (list->kind != JsonKind::kArray) return broken(line.place(), "hash_ids is no list");
  for (JsonCursor cursor(*list); cursor.next();) {
    const auto id = whole_number(cursor.value().text, 0, std::numeric_limits<std::int64_t>::max());
    if (!id) return broken(line.place(), "hash_ids holds something that is no whole number");
    ids.push_back(static_cast<std::uint64_t>(*id));
  }
  return ids;
}

Result<MooncakeEntry> read_mooncake_line(std::string_view text, Place place, int block_tokens) {
  const auto line = Members::scan(text, place);
  if (!line) return std::unexpected(line.error());
  const auto at = line->milliseconds("timestamp");
  if (!at) return std::unexpected(at.error());
  if (!*at) return broken(place, "timestamp is missing");
  const auto input = line->needed_integer("input_length", 1, kMostTraceTokens);
  if (!input) return std::unexpected(input.error());
  const auto output = line->needed_integer("output_length", 0, kMostTraceTokens);
  if (!output) return std::unexpected(output.error());
  auto ids = read_hash_ids(*line);
  if (!ids) return std::unexpected(ids.error());
  const auto blocks = static_cast<std::size_t>((*input + block_tokens - 1) / block_tokens);
  if (!ids->empty() && ids->size() != blocks) {
    return broken(place, fmt::format("{} hash_ids for {} tokens: in blocks of {} there are {}",
                                     ids->size(), *input, block_tokens, blocks));
  }
  return MooncakeEntry{**at, static_cast<int>(*input), static_cast<int>(*output), std::move(*ids)};
}

constexpr std::array<std::string_view, 3> kAzureColumns = {"TIMESTAMP", "ContextTokens",
                                                           "GeneratedTokens"};

std::vector<std::string_view> split_cells(std::string_view line) {
  std::vector<std::string_view> cells;
  for (;;) {
    const std::size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return cells;
    line.remove_prefix(comma + 1);
  }
}

// Where each of kAzureColumns is.
Result<std::array<std::size_t, 3>> read_azure_header(std::string_view line, Place place) {
  if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  const auto cells = split_cells(line);
  std::array<std::size_t, 3> columns{};
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto found = std::ranges::find(cells, kAzureColumns[i]);
    if (found == cells.end()) {
      return broken(place, fmt::format("the header names no {}; expected "
                                       "TIMESTAMP,ContextTokens,GeneratedTokens",
                                       kAzureColumns[i]));
    }
    columns[i] = static_cast<std::size_t>(found - cells.begin());
  }
  return columns;
}

// Takes a number of exactly `digits` digits in [low, high] off the front.
std::optional<int> take_digits(std::string_view& text, std::size_t digits, int low, int high) {
  const auto value = whole_number(text.substr(0, digits), low, high);
  if (!value || text.size() < digits || text.front() == '-') return std::nullopt;
  text.remove_prefix(digits);
  return static_cast<int>(*value);
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::chrono::sys_days> take_date(std::string_view& text) {
  const auto year = take_digits(text, 4, 1970, 2200);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = take_digits(text, 2, 1, 12);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = take_digits(text, 2, 1, 31);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date);
}

// "HH:MM", as a time of day or an offset.
std::optional<std::chrono::minutes> take_minutes(std::string_view& text) {
  const auto hour = take_digits(text, 2, 0, 23);
  if (!hour || !take(text, ":")) return std::nullopt;
  const auto minute = take_digits(text, 2, 0, 59);
  if (!minute) return std::nullopt;
  return std::chrono::hours(*hour) + std::chrono::minutes(*minute);
}

std::optional<std::chrono::nanoseconds> take_fraction(std::string_view& text) {
  if (!take(text, ".")) return std::chrono::nanoseconds(0);
  std::int64_t value = 0;
  int digits = 0;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
    if (digits == 9) continue;
    value = value * 10 + (text.front() - '0');
    ++digits;
  }
  if (digits == 0) return std::nullopt;
  for (; digits < 9; ++digits) value *= 10;
  return std::chrono::nanoseconds(value);
}

// What local time is ahead of UTC: "", "Z", "+00:00" or "-03:30".
std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
  if (text.empty() || take(text, "Z")) return std::chrono::minutes(0);
  const bool west = text.starts_with('-');
  if (!take(text, "+-")) return std::nullopt;
  const auto offset = take_minutes(text);
  if (!offset) return std::nullopt;
  return west ? -*offset : *offset;
}

// Since 1970, of "2023-11-16 18:17:03.9799600".
std::optional<Duration> read_timestamp(std::string_view text) {
  const auto date = take_date(text);
  if (!date || !take(text, " T")) return std::nullopt;
  const auto minutes = take_minutes(text);
  if (!minutes || !take(text, ":")) return std::nullopt;
  const auto seconds = take_digits(text, 2, 0, 60);
  const auto fraction = take_fraction(text);
  if (!seconds || !fraction) return std::nullopt;
  const auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  return std::chrono::duration_cast<Duration>(date->time_since_epoch() + *minutes - *offset +
                                              std::chrono::seconds(*seconds) + *fraction);
}

Result<AzureEntry> read_azure_line(std::string_view line, const std::array<std::size_t, 3>& columns,
                                   Place place) {
  const auto cells = split_cells(line);
  if (cells.size() <= *std::ranges::max_element(columns)) {
    return broken(place, fmt::format("{} columns, fewer than the header names", cells.size()));
  }
  const auto at = read_timestamp(cells[columns[0]]);
  if (!at) return broken(place, "TIMESTAMP is no time such as 2023-11-16 18:17:03.9799600");
  const auto input = whole_number(cells[columns[1]], 1, kMostTraceTokens);
  if (!input) return broken(place, "ContextTokens is no whole number above 0");
  const auto output = whole_number(cells[columns[2]], 0, kMostTraceTokens);
  if (!output) return broken(place, "GeneratedTokens is no whole number");
  return AzureEntry{*at, static_cast<int>(*input), static_cast<int>(*output)};
}

}  // namespace

Result<Trace<MooncakeEntry>> read_mooncake(std::string_view text, std::string_view file,
                                           int block_tokens) {
  Trace<MooncakeEntry> trace;
  Lines lines(text);
  while (lines.next()) {
    auto entry = read_mooncake_line(lines.line(), {file, lines.number()}, block_tokens);
    if (!entry) return std::unexpected(std::move(entry.error()));
    trace.entries.push_back(std::move(*entry));
  }
  if (trace.entries.empty()) return broken({file, 1}, "the trace is empty");
  trace.out_of_order = sort_by_time(trace.entries, kByTime);
  return trace;
}

Result<Trace<AzureEntry>> read_azure(std::string_view text, std::string_view file) {
  Trace<AzureEntry> trace;
  Lines lines(text);
  if (!lines.next()) return broken({file, 1}, "the trace is empty");
  const auto columns = read_azure_header(lines.line(), {file, lines.number()});
  if (!columns) return std::unexpected(columns.error());
  while (lines.next()) {
    auto entry = read_azure_line(lines.line(), *columns, {file, lines.number()});
    if (!entry) return std::unexpected(std::move(entry.error()));
    trace.entries.push_back(*entry);
  }
  if (trace.entries.empty()) {
    return broken({file, lines.number()}, "nothing follows the header");
  }
  trace.out_of_order = sort_by_time(trace.entries, kByTime);
  return trace;
}

}  // namespace baton::orchestrator::bench
