#include "orchestrator/bench/results/sweep.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

constexpr double kLeastRateShare = 1.0 / 1024;  // of from_rate; below it nothing is looked for
constexpr double kNoiseInErrors = 2;            // standard errors of a share
constexpr double kLeastKnee = 0.05;             // height above the chord, of the unit square

bool rates_grow(const Json& a, const Json& b) {
  return number_of(a, "request_rate") < number_of(b, "request_rate");
}

Json point_json(const std::optional<SweepPoint>& point) {
  if (!point) return {};
  return {{"request_rate", point->rate},
          {"request_goodput", point->goodput},
          {"share", point->share},
          {"runs", point->runs}};
}

Json number_or_null(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

void keep_higher(std::optional<SweepPoint>& highest, const SweepPoint& point) {
  if (!highest || point.goodput > highest->goodput) highest = point;
}

}  // namespace

std::optional<double> GoodputSearch::next_rate() const {
  if (runs_ >= options_.max_points) return std::nullopt;
  if (repeat_) return repeat_;
  std::optional<double> high;
  for (const SweepPoint& point : points_) {
    if (!keeps(point)) {
      high = point.rate;
      break;
    }
  }
  std::optional<double> low;
  for (const SweepPoint& point : points_) {
    if (keeps(point) && (!high || point.rate < *high)) low = point.rate;
  }
  if (!low && !high) return options_.from_rate;
  if (!high) return *low * options_.growth;
  if (!low) {
    const double lower = *high / options_.growth;
    return lower < options_.from_rate * kLeastRateShare ? std::nullopt : std::optional(lower);
  }
  if (*high / *low <= 1 + options_.tolerance) return std::nullopt;
  return std::sqrt(*low * *high);
}

void GoodputSearch::observe(double rate, const Json& run) {
  ++runs_;
  SweepPoint& point = point_at(rate);
  const Json& goodput = run.at("baton").at("goodput");
  const auto offered = number_of(goodput, "offered");
  const auto before = static_cast<double>(point.offered);
  const double good = point.share * before + number_of(goodput, "good");
  point.offered += static_cast<std::int64_t>(offered);
  point.share = point.offered > 0 ? good / (before + offered) : 0;
  point.goodput =
      (point.goodput * point.runs + number_of(goodput, "requests_per_s")) / (point.runs + 1);
  point.sound = point.sound && run.at("baton").at("sound").get<bool>();
  ++point.runs;
  repeat_ = point.runs == 1 && is_uncertain(point) ? std::optional(rate) : std::nullopt;
}

SweepPoint& GoodputSearch::point_at(double rate) {
  const auto at = std::ranges::lower_bound(points_, rate, {}, &SweepPoint::rate);
  if (at != points_.end() && at->rate == rate) return *at;
  return *points_.insert(at, SweepPoint{.rate = rate});
}

// Of an unsound point the target's part is unknown: the search goes no higher.
bool GoodputSearch::keeps(const SweepPoint& point) const {
  return point.sound && point.share >= options_.good_share;
}

bool GoodputSearch::is_uncertain(const SweepPoint& point) const {
  if (!point.sound || point.offered == 0) return false;
  const double wanted = options_.good_share;
  const double error = std::sqrt(wanted * (1 - wanted) / static_cast<double>(point.offered));
  return std::abs(point.share - wanted) < kNoiseInErrors * error;
}

SweepResult GoodputSearch::result() const {
  SweepResult result;
  for (const SweepPoint& point : points_) {
    keep_higher(result.peak, point);
    if (keeps(point)) {
      // Where noise let a rate above one that broke it pass, the break counts.
      if (!result.breaks_at) keep_higher(result.best, point);
    } else if (!result.breaks_at) {
      result.breaks_at = point.rate;
      result.generator_bound = !point.sound;
    }
  }
  result.knee = knee_of(points_);
  return result;
}

std::optional<double> knee_of(const std::vector<SweepPoint>& points) {
  if (points.size() < 3) return std::nullopt;
  const double widest = points.back().rate;
  const double highest = std::ranges::max(points, {}, &SweepPoint::goodput).goodput;
  if (widest <= 0 || highest <= 0) return std::nullopt;
  const double slope = points.back().goodput / highest;
  double farthest = kLeastKnee;
  std::optional<double> knee;
  for (const SweepPoint& point : points) {
    const double above = point.goodput / highest - slope * point.rate / widest;
    if (above <= farthest) continue;
    farthest = above;
    knee = point.rate;
  }
  return knee;
}

Json sweep_json(const GoodputSearch& search, std::vector<Json> runs, const Slo& slo,
                std::string_view version) {
  const SweepResult result = search.result();
  std::ranges::sort(runs, rates_grow);
  return {{"kind", "sweep"},
          {"baton_version", version},
          {"slo", slo_json(slo)},
          {"good_share", search.options().good_share},
          {"points", std::move(runs)},
          {"best", point_json(result.best)},
          {"peak", point_json(result.peak)},
          {"breaks_at", number_or_null(result.breaks_at)},
          {"knee", result.knee ? Json{{"request_rate", *result.knee}} : Json()},
          {"generator_bound", result.generator_bound}};
}

}  // namespace baton::orchestrator::bench
