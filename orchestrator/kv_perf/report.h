#pragma once

#include <string>
#include <vector>

#include "orchestrator/kv_perf/measure.h"

namespace baton::orchestrator::kv_perf {

// A table for people, with the reasons of what was not measured.
[[nodiscard]] std::string table(const std::vector<Row>& rows);
// One object; docs/kv_perf.md tells its members.
[[nodiscard]] std::string json(const std::vector<Row>& rows, const std::string& server, bool local);
// An SVG of the rates: a bar for the median, a mark for the best. Empty rows make a picture that
// says so.
[[nodiscard]] std::string picture(const std::vector<Row>& rows, const std::string& title);

// "64 x 16 KiB", "12.3 us".
[[nodiscard]] std::string shape_words(const kv::BlockShape& shape);
[[nodiscard]] std::string time_words(double seconds);

}  // namespace baton::orchestrator::kv_perf
