#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace baton::orchestrator::bench {

// A sample with its usual figures, computed as numpy does, since scripts compare with what numpy
// said. A value; the figures of an empty sample are 0.
class Sample {
 public:
  Sample() = default;
  explicit Sample(std::vector<double> values);
  [[nodiscard]] bool empty() const { return sorted_.empty(); }
  [[nodiscard]] std::size_t size() const { return sorted_.size(); }
  [[nodiscard]] double mean() const { return mean_; }
  [[nodiscard]] double std() const;  // of a population (numpy.std)
  [[nodiscard]] double median() const { return percentile(50); }
  // Linear interpolation between the closest ranks (numpy.percentile's default), 0 to 100.
  [[nodiscard]] double percentile(double percent) const;
  [[nodiscard]] double max() const { return empty() ? 0 : sorted_.back(); }

 private:
  std::vector<double> sorted_;
  double mean_ = 0;
};

struct Interval {
  double estimate = 0;
  double low = 0;
  double high = 0;
};

// The mean with its two-sided 95 % interval by Student's t. nullopt: fewer than two values.
[[nodiscard]] std::optional<Interval> mean_interval(std::span<const double> values);

// The geometric mean of positive ratios with its 95 % interval: Student's t on their logarithms.
// nullopt: fewer than two.
[[nodiscard]] std::optional<Interval> ratio_interval(std::span<const double> ratios);

// The median of paired ratios with its 95 % interval by the percentile bootstrap over pairs.
// nullopt: fewer than kFewestBootstrapPairs, of which no resampling makes an interval.
inline constexpr std::size_t kFewestBootstrapPairs = 8;
[[nodiscard]] std::optional<Interval> bootstrap_median(std::span<const double> ratios,
                                                       std::uint64_t seed, int resamples = 2000);

// Two-sided p of the exact sign test that ratios lie around 1. Ties are left out; 1 where nothing
// is left.
[[nodiscard]] double sign_test(std::span<const double> ratios);

}  // namespace baton::orchestrator::bench
