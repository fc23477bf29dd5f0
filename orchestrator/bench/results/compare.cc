#include "orchestrator/bench/results/compare.h"

#include <algorithm>
#include <array>
#include <utility>

#include "orchestrator/bench/results/measured.h"
#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/statistics.h"

namespace baton::orchestrator::bench {
namespace {

using Time = std::optional<double> RequestTimes::*;

struct Metric {
  const char* key;
  const char* name;  // of the latency; empty: a rate, where more is better
  Time time;         // which of a request's times it is made of, if any
};
constexpr std::array<Metric, 8> kMetrics = {{
    {"median_ttft_ms", "ttft", &RequestTimes::ttft_ms},
    {"mean_ttft_ms", "ttft", nullptr},
    {"p99_ttft_ms", "ttft", nullptr},
    {"mean_tpot_ms", "tpot", &RequestTimes::tpot_ms},
    {"mean_itl_ms", "itl", nullptr},
    {"mean_e2el_ms", "e2el", &RequestTimes::e2el_ms},
    {"output_throughput", "", nullptr},
    {"request_goodput", "", nullptr},
}};

std::optional<double> figure_of(const Json& run, const Metric& metric) {
  const std::string_view name = metric.name;
  if (!name.empty() && is_unmeasured(run, name)) return std::nullopt;
  const double value = number_of(run, metric.key);
  return value > 0 ? std::optional(value) : std::nullopt;
}

std::vector<double> ratios_of_rounds(const ComparedSide& base, const ComparedSide& side,
                                     const Metric& metric) {
  std::vector<double> ratios;
  const std::size_t rounds = std::min(base.runs.size(), side.runs.size());
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto below = figure_of(base.runs[i].summary, metric);
    const auto above = figure_of(side.runs[i].summary, metric);
    if (below && above) ratios.push_back(*above / *below);
  }
  return ratios;
}

void add_ratios_of_requests(std::vector<double>& ratios, const ComparedRun& base,
                            const ComparedRun& side, Time time) {
  auto other = base.times.begin();
  for (const RequestTimes& own : side.times) {
    while (other != base.times.end() && other->index < own.index) ++other;
    if (other == base.times.end()) return;
    if (other->index != own.index) continue;
    const auto& above = own.*time;
    const auto& below = (*other).*time;
    if (above && below && *above > 0 && *below > 0) ratios.push_back(*above / *below);
  }
}

std::vector<double> ratios_of_requests(const ComparedSide& base, const ComparedSide& side,
                                       Time time) {
  std::vector<double> ratios;
  const std::size_t rounds = std::min(base.runs.size(), side.runs.size());
  for (std::size_t i = 0; i < rounds; ++i) {
    add_ratios_of_requests(ratios, base.runs[i], side.runs[i], time);
  }
  return ratios;
}

const char* verdict_of(const Json& low, const Json& high, bool more_is_better) {
  if (low.is_null()) return "no interval";
  if (low <= 1 && high >= 1) return "no difference shown";
  return (low > 1) == more_is_better ? "better" : "worse";
}

struct Finding {
  std::string metric;
  std::string basis;
  double ratio = 0;
  std::optional<Interval> interval;
  std::size_t pairs = 0;
  std::optional<double> p_sign;
  bool more_is_better = false;
};

Json finding_json(const Finding& finding, const ComparedSide& base, const ComparedSide& side) {
  const Json low = finding.interval ? Json(finding.interval->low) : Json();
  const Json high = finding.interval ? Json(finding.interval->high) : Json();
  return {{"metric", finding.metric},
          {"side", side.name},
          {"base", base.name},
          {"ratio", finding.ratio},
          {"low", low},
          {"high", high},
          {"pairs", finding.pairs},
          {"p_sign", finding.p_sign ? Json(*finding.p_sign) : Json()},
          {"basis", finding.basis},
          {"verdict", verdict_of(low, high, finding.more_is_better)}};
}

std::optional<Finding> over_requests(std::string metric, const std::vector<double>& ratios,
                                     std::uint64_t seed) {
  const auto interval = bootstrap_median(ratios, seed);
  if (!interval) return std::nullopt;
  return Finding{.metric = std::move(metric),
                 .basis = "requests",
                 .ratio = interval->estimate,
                 .interval = interval,
                 .pairs = ratios.size(),
                 .p_sign = sign_test(ratios)};
}

std::optional<Finding> over_rounds(const Metric& metric, const std::vector<double>& ratios) {
  if (ratios.empty()) return std::nullopt;
  const auto interval = ratio_interval(ratios);
  return Finding{.metric = metric.key,
                 .basis = interval ? "rounds" : "one round",
                 .ratio = interval ? interval->estimate : ratios.front(),
                 .interval = interval,
                 .pairs = ratios.size(),
                 .p_sign = interval ? std::optional(sign_test(ratios)) : std::nullopt,
                 .more_is_better = *metric.name == '\0'};
}

// Rates where a side had nothing in some round: no ratio of logarithms can hold that, and to leave
// the round out would hide it. The ratio of the means, without an interval.
std::optional<Finding> of_idle_rounds(const Metric& metric, const ComparedSide& base,
                                      const ComparedSide& side) {
  if (*metric.name != '\0') return std::nullopt;
  const std::size_t rounds = std::min(base.runs.size(), side.runs.size());
  double below = 0;
  double above = 0;
  bool idle = false;
  for (std::size_t i = 0; i < rounds; ++i) {
    const double of_base = number_of(base.runs[i].summary, metric.key);
    const double of_side = number_of(side.runs[i].summary, metric.key);
    idle = idle || of_base == 0 || of_side == 0;
    below += of_base;
    above += of_side;
  }
  if (!idle || below == 0) return std::nullopt;
  return Finding{.metric = metric.key,
                 .basis = "means of rounds",
                 .ratio = above / below,
                 .interval = {},
                 .pairs = rounds,
                 .p_sign = {},
                 .more_is_better = true};
}

std::optional<Finding> find(const Metric& metric, const ComparedSide& base,
                            const ComparedSide& side, std::uint64_t seed) {
  if (auto finding = of_idle_rounds(metric, base, side)) return finding;
  const std::vector<double> rounds = ratios_of_rounds(base, side, metric);
  if (rounds.size() == 1 && metric.time != nullptr) {
    auto finding = over_requests(metric.key, ratios_of_requests(base, side, metric.time), seed);
    if (finding) return finding;
  }
  return over_rounds(metric, rounds);
}

void put_ratios(Json& list, const ComparedSide& base, const ComparedSide& side,
                std::uint64_t seed) {
  for (const Metric& metric : kMetrics) {
    if (const auto finding = find(metric, base, side, seed)) {
      list.push_back(finding_json(*finding, base, side));
    }
  }
  if (std::min(base.runs.size(), side.runs.size()) < 2) return;
  const auto pairs = ratios_of_requests(base, side, &RequestTimes::ttft_ms);
  if (const auto finding = over_requests("paired_ttft_ms", pairs, seed)) {
    list.push_back(finding_json(*finding, base, side));
  }
}

Json side_json(const ComparedSide& side) {
  Json runs = Json::array();
  for (const ComparedRun& run : side.runs) runs.push_back(run.summary);
  return {{"name", side.name}, {"target", side.target}, {"runs", std::move(runs)}};
}

}  // namespace

std::vector<RequestTimes> request_times(const std::vector<RequestRecord>& records,
                                        const Window& window) {
  std::vector<RequestTimes> times;
  for (const RequestRecord& record : records) {
    if (!record.completed() || !in_window(record, window)) continue;
    times.push_back({record.index, ttft_ms(record), tpot_ms(record), e2el_ms(record)});
  }
  std::ranges::sort(times, {}, &RequestTimes::index);
  return times;
}

Json compare(const std::vector<ComparedSide>& sides, const CompareOptions& options) {
  Json all = Json::array();
  Json ratios = Json::array();
  for (const ComparedSide& side : sides) {
    if (&side != &sides.front()) put_ratios(ratios, sides.front(), side, options.seed);
    all.push_back(side_json(side));
  }
  return {{"kind", "compare"},
          {"baton_version", options.version},
          {"sides", std::move(all)},
          {"ratios", std::move(ratios)}};
}

}  // namespace baton::orchestrator::bench
