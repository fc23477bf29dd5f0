#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace baton::orchestrator::bench {

// One self-contained page for a result file: a run, a sweep or a comparison (docs/benchmarking.md).
// It loads nothing from anywhere. The result is in it whole, but for the arrays of --save-detailed
// (texts among them), which no figure needs; its strings cannot end the script that holds them.
[[nodiscard]] std::string html_report(const nlohmann::ordered_json& results);

// The page before results are put into it; embedded from report.html.
[[nodiscard]] std::string_view report_template();

}  // namespace baton::orchestrator::bench
