#include "orchestrator/bench/results/statistics.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

namespace baton::orchestrator::bench {
namespace {

constexpr double kUpperTail = 0.975;  // of a two-sided 95 % interval

double mean_of(std::span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double squares_around(std::span<const double> values, double center) {
  return std::accumulate(values.begin(), values.end(), 0.0, [center](double sum, double value) {
    return sum + (value - center) * (value - center);
  });
}

// numpy's _lerp: exact at both ends.
double between(double a, double b, double share) {
  return share < 0.5 ? a + (b - a) * share : b - (b - a) * (1 - share);
}

double percentile_of_sorted(std::span<const double> sorted, double percent) {
  const double rank =
      static_cast<double>(sorted.size() - 1) * std::clamp(percent, 0.0, 100.0) / 100;
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return between(sorted[below], sorted[above], rank - static_cast<double>(below));
}

std::vector<double> logarithms(std::span<const double> ratios) {
  std::vector<double> logs;
  logs.reserve(ratios.size());
  for (const double ratio : ratios) logs.push_back(std::log(ratio));
  return logs;
}

double median_of(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace

Sample::Sample(std::vector<double> values) : sorted_(std::move(values)), mean_(mean_of(sorted_)) {
  std::ranges::sort(sorted_);
}

double Sample::std() const {
  if (empty()) return 0;
  return std::sqrt(squares_around(sorted_, mean_) / static_cast<double>(size()));
}

double Sample::percentile(double percent) const {
  return empty() ? 0 : percentile_of_sorted(sorted_, percent);
}

std::optional<Interval> mean_interval(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double mean = mean_of(values);
  const double error = std::sqrt(squares_around(values, mean) / (n - 1) / n);
  const double reach = boost::math::quantile(boost::math::students_t(n - 1), kUpperTail) * error;
  return Interval{mean, mean - reach, mean + reach};
}

std::optional<Interval> ratio_interval(std::span<const double> ratios) {
  const auto logs = mean_interval(logarithms(ratios));
  if (!logs) return std::nullopt;
  return Interval{std::exp(logs->estimate), std::exp(logs->low), std::exp(logs->high)};
}

std::optional<Interval> bootstrap_median(std::span<const double> ratios, std::uint64_t seed,
                                         int resamples) {
  if (ratios.size() < kFewestBootstrapPairs) return std::nullopt;
  const std::vector<double> logs = logarithms(ratios);
  std::mt19937_64 random(seed);
  std::vector<double> medians;
  medians.reserve(static_cast<std::size_t>(resamples));
  std::vector<double> drawn(logs.size());
  for (int i = 0; i < resamples; ++i) {
    for (double& value : drawn) value = logs[random() % logs.size()];
    medians.push_back(median_of(drawn));
  }
  drawn = logs;
  const Sample spread(std::move(medians));
  return Interval{std::exp(median_of(drawn)), std::exp(spread.percentile(2.5)),
                  std::exp(spread.percentile(97.5))};
}

double sign_test(std::span<const double> ratios) {
  const auto above = std::ranges::count_if(ratios, [](double ratio) { return ratio > 1; });
  const auto below = std::ranges::count_if(ratios, [](double ratio) { return ratio < 1; });
  const auto n = static_cast<double>(above + below);
  if (n == 0) return 1;
  const auto fewer = static_cast<double>(std::min(above, below));
  return std::min(1.0, 2 * boost::math::cdf(boost::math::binomial(n, 0.5), fewer));
}

}  // namespace baton::orchestrator::bench
