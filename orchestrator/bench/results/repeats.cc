#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/statistics.h"
#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::array<std::string_view, 7> kRates = {"duration",
                                                    "request_throughput",
                                                    "request_goodput",
                                                    "output_throughput",
                                                    "total_token_throughput",
                                                    "max_output_tokens_per_s",
                                                    "max_concurrent_requests"};

constexpr std::array<const char*, 11> kOfEachRepeat = {
    "completed",         "failed",       "duration",       "request_throughput", "request_goodput",
    "output_throughput", "mean_ttft_ms", "median_ttft_ms", "median_tpot_ms",     "median_itl_ms",
    "median_e2el_ms"};

// The metric of a latency's key: "ttft" of "p99_ttft_ms".
std::string_view metric_of(std::string_view key) {
  const std::string_view name = key.substr(0, key.size() - std::string_view("_ms").size());
  return name.substr(name.rfind('_') + 1);
}

// A figure of which a mean over repeats makes sense.
bool is_averaged(const Json& run, std::string_view key, const Json& value) {
  if (!value.is_number()) return false;
  if (std::ranges::find(kRates, key) != kRates.end()) return true;
  return key.ends_with("_ms") && !key.starts_with("std_") && !is_unmeasured(run, metric_of(key));
}

Json intervals_json(const std::vector<Json>& runs) {
  Json intervals = Json::object();
  for (const auto& [key, first] : runs.front().items()) {
    std::vector<double> values;
    for (const Json& run : runs) {
      const auto value = run.find(key);
      if (value != run.end() && is_averaged(run, key, *value)) values.push_back(*value);
    }
    if (values.size() != runs.size()) continue;
    const auto interval = mean_interval(values);
    intervals[key] = {{"mean", interval->estimate},
                      {"low", interval->low},
                      {"high", interval->high},
                      {"repeats", runs.size()}};
  }
  return intervals;
}

Json repeats_json(const std::vector<Json>& runs) {
  Json repeats = Json::array();
  for (const Json& run : runs) {
    Json repeat = Json::object();
    for (const char* key : kOfEachRepeat) repeat[key] = run.at(key);
    repeat["sound"] = run.at("baton").at("sound");
    repeats.push_back(std::move(repeat));
  }
  return repeats;
}

std::size_t middle_of(const std::vector<Json>& runs) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    order.emplace_back(runs[i].at("median_ttft_ms").get<double>(), i);
  }
  std::ranges::sort(order);
  return order[(order.size() - 1) / 2].second;
}

// The whole is sound, or complete, where each repeat is.
void put_worst(Json& baton, const std::vector<Json>& runs) {
  Json reasons = Json::array();
  bool partial = false;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Json& own = runs[i].at("baton");
    partial = partial || own.at("partial").get<bool>();
    for (const Json& reason : own.at("unsound_reasons")) {
      reasons.push_back(fmt::format("repeat {}: {}", i + 1, reason.get<std::string>()));
    }
  }
  baton["sound"] = reasons.empty();
  baton["unsound_reasons"] = std::move(reasons);
  baton["partial"] = partial;
}

}  // namespace

Json summarize_repeats(const std::vector<Json>& runs) {
  if (runs.empty()) return Json::object();
  if (runs.size() == 1) return runs.front();
  Json summary = runs[middle_of(runs)];
  Json& baton = summary["baton"];
  put_worst(baton, runs);
  baton["repeats"] = repeats_json(runs);
  baton["intervals"] = intervals_json(runs);
  return summary;
}

}  // namespace baton::orchestrator::bench
