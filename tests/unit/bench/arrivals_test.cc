#include "orchestrator/bench/workload/arrivals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ranges>
#include <utility>

namespace baton::orchestrator::bench {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

ArrivalOptions arrival_options(double rate, double burstiness, std::uint64_t seed = 0) {
  ArrivalOptions options;
  options.rate = rate;
  options.burstiness = burstiness;
  options.seed = seed;
  return options;
}

std::vector<double> gaps_of(const std::vector<Duration>& offsets) {
  std::vector<double> gaps;
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    gaps.push_back(to_seconds(offsets[i] - offsets[i - 1]));
  }
  return gaps;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double variation_of(const std::vector<double>& values) {
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size())) / mean;
}

std::ptrdiff_t count_before(const std::vector<Duration>& offsets, double seconds) {
  return std::ranges::count_if(offsets, [&](Duration at) { return to_seconds(at) < seconds; });
}

TEST(Arrivals, NoneOneAndAllAtOnce) {
  EXPECT_TRUE(make_arrivals({}, 0).empty());
  EXPECT_EQ(make_arrivals({}, 1), std::vector<Duration>{Duration::zero()});
  EXPECT_EQ(make_arrivals(arrival_options(kInfinite, 1), 3),
            std::vector<Duration>(3, Duration::zero()));
}

TEST(Arrivals, ConstantGapsAreExact) {
  const auto offsets = make_arrivals(arrival_options(8, kInfinite), 1001);
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    EXPECT_EQ(offsets[i], std::chrono::milliseconds(125) * static_cast<int>(i));
  }
}

class Burstiness : public testing::TestWithParam<double> {};

TEST_P(Burstiness, GapsHaveTheMeanOfTheRateAndTheVariationOfTheShape) {
  const double shape = GetParam();
  const auto offsets = make_arrivals(arrival_options(50, shape, 7), 40001);
  ASSERT_TRUE(std::ranges::is_sorted(offsets));
  EXPECT_EQ(offsets.front(), Duration::zero());
  EXPECT_EQ(offsets.back(), std::chrono::seconds(800));
  const auto gaps = gaps_of(offsets);
  EXPECT_NEAR(mean_of(gaps), 0.02, 1e-6);
  const double expected = 1 / std::sqrt(shape);
  EXPECT_NEAR(variation_of(gaps), expected, 0.05 * expected);
}
INSTANTIATE_TEST_SUITE_P(Shapes, Burstiness, testing::Values(0.25, 0.5, 1.0, 4.0, 100.0));

TEST(Arrivals, PoissonCountsInWindowsHaveTheVarianceOfTheirMean) {
  const auto offsets = make_arrivals(arrival_options(20, 1, 3), 20001);
  std::vector<double> counts(1000, 0.0);
  for (const Duration at : offsets) {
    counts[std::min<std::size_t>(999, static_cast<std::size_t>(to_seconds(at)))] += 1;
  }
  EXPECT_NEAR(mean_of(counts), 20, 0.1);
  const double variance = std::pow(variation_of(counts) * mean_of(counts), 2);
  EXPECT_NEAR(variance, 20, 3);
}

TEST(Arrivals, SameSeedSameTimes) {
  const auto of = [](std::uint64_t seed) {
    return make_arrivals(arrival_options(5, 1, seed), 100);
  };
  EXPECT_EQ(of(1), of(1));
  EXPECT_NE(of(1), of(2));
}

TEST(Arrivals, LinearRampFollowsTheIntegralOfItsRate) {
  const Ramp ramp{.from_rate = 10, .to_rate = 30};
  const auto offsets = make_arrivals({.burstiness = kInfinite, .ramp = ramp}, 2001);
  ASSERT_TRUE(std::ranges::is_sorted(offsets));
  EXPECT_NEAR(to_seconds(offsets.back()), 100, 1e-6);  // 2 * 2000 / (10 + 30)
  for (const double t : {10.0, 25.0, 50.0, 75.0, 90.0}) {
    EXPECT_NEAR(static_cast<double>(count_before(offsets, t)), 10 * t + 0.1 * t * t, 1.01) << t;
  }
}

TEST(Arrivals, ExponentialRampFollowsTheIntegralOfItsRate) {
  const Ramp ramp{.from_rate = 4, .to_rate = 64, .exponential = true};
  const auto offsets = make_arrivals({.burstiness = kInfinite, .ramp = ramp}, 6001);
  ASSERT_TRUE(std::ranges::is_sorted(offsets));
  const double total = to_seconds(offsets.back());
  EXPECT_NEAR(total, 6000 * std::log(16.0) / 60, 1e-6);
  const double k = std::log(16.0) / total;
  for (const double share : {0.1, 0.5, 0.9}) {
    const double t = share * total;
    EXPECT_NEAR(static_cast<double>(count_before(offsets, t)), 4 * std::expm1(k * t) / k, 1.01);
  }
}

TEST(Arrivals, RampsFallStayLevelAndStartFromNothing) {
  const auto of = [](double from, double to, bool exponential) {
    const Ramp ramp{.from_rate = from, .to_rate = to, .exponential = exponential};
    return make_arrivals({.burstiness = kInfinite, .ramp = ramp}, 1001);
  };
  const auto rising = of(5, 20, false);
  const auto falling = of(20, 5, false);
  for (std::size_t i = 0; i < rising.size(); ++i) {
    const double mirrored = to_seconds(rising.back() - rising[rising.size() - 1 - i]);
    EXPECT_NEAR(to_seconds(falling[i]), mirrored, 1e-6);
  }
  for (const bool exponential : {false, true}) {
    EXPECT_NEAR(to_seconds(of(5, 5, exponential).back()), 200, 1e-6);
    EXPECT_NEAR(to_seconds(of(5, 5 * (1 + 1e-8), exponential)[500]), 100, 1e-4);
  }
  const auto from_nothing = of(0, 10, false);
  EXPECT_NEAR(to_seconds(from_nothing.back()), 200, 1e-6);
  EXPECT_NEAR(to_seconds(from_nothing[250]), 100, 1e-6);  // a quarter of them in half the time
}

TEST(Arrivals, RampsAreAsBurstyAsAsked) {
  const Ramp ramp{.from_rate = 100, .to_rate = 101};
  const auto offsets = make_arrivals({.burstiness = 1, .ramp = ramp, .seed = 5}, 20001);
  ASSERT_TRUE(std::ranges::is_sorted(offsets));
  EXPECT_NEAR(variation_of(gaps_of(offsets)), 1, 0.05);
}

}  // namespace
}  // namespace baton::orchestrator::bench
