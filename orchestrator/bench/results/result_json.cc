#include "orchestrator/bench/results/result_json.h"

#include <fmt/format.h>

#include <algorithm>

namespace baton::orchestrator::bench {

std::string text_of(const Json& json, std::string_view key) {
  const auto value = json.find(key);
  return value != json.end() && value->is_string() ? value->get<std::string>() : std::string();
}

double number_of(const Json& json, std::string_view key) {
  const auto value = json.find(key);
  return value != json.end() && value->is_number() ? value->get<double>() : 0;
}

std::int64_t count_of(const Json& json, std::string_view key) {
  return static_cast<std::int64_t>(number_of(json, key));
}

bool is_unmeasured(const Json& run, std::string_view metric) {
  const Json& names = run.at("baton").at("unmeasured");
  return std::any_of(names.begin(), names.end(), [metric](const Json& name) {
    return name.get_ref<const std::string&>() == metric;
  });
}

std::string slo_text(const Json& slo) {
  std::string text;
  for (const std::string_view metric : {"ttft", "tpot", "e2el"}) {
    const Json& bound = slo.at(fmt::format("{}_ms", metric));
    if (bound.is_null()) continue;
    text += fmt::format("{}{} <= {:g} ms", text.empty() ? "" : ", ", metric, bound.get<double>());
  }
  return text;
}

}  // namespace baton::orchestrator::bench
