#include "orchestrator/bench/report/html_report.h"

#include <array>
#include <cstdlib>

namespace baton::orchestrator::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kMark = "@@RESULTS@@";
constexpr std::array kDetailed = {"input_lens",  "output_lens",     "ttfts", "itls",
                                  "start_times", "generated_texts", "errors"};

void drop_details(Json& run) {
  if (!run.is_object()) return;
  for (const char* key : kDetailed) run.erase(key);
  if (run.contains("baton") && run["baton"].is_object()) run["baton"].erase("requests");
}

// Of runs, or of the points of a sweep, which hold one.
void drop_details_of_all(Json& runs) {
  if (!runs.is_array()) return;
  for (Json& run : runs) {
    drop_details(run);
    if (run.is_object() && run.contains("run")) drop_details(run["run"]);
  }
}

Json without_details(Json results) {
  drop_details(results);
  if (!results.is_object()) return results;
  if (auto points = results.find("points"); points != results.end()) drop_details_of_all(*points);
  if (auto sides = results.find("sides"); sides != results.end() && sides->is_array()) {
    for (Json& side : *sides) {
      if (side.is_object() && side.contains("runs")) drop_details_of_all(side["runs"]);
    }
  }
  return results;
}

// JSON that may stand in a script element: "</script" and "<!--" need a "<", which JSON has in
// strings alone, where it may be escaped.
std::string script_json(const Json& value) {
  const std::string json = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(json.size() + 64);
  for (const char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

}  // namespace

std::string html_report(const Json& results) {
  const std::string_view page = report_template();
  const std::size_t mark = page.find(kMark);
  if (mark == std::string_view::npos) std::abort();  // report.html lost its mark
  std::string out(page.substr(0, mark));
  out += script_json(without_details(results));
  out += page.substr(mark + kMark.size());
  return out;
}

}  // namespace baton::orchestrator::bench
