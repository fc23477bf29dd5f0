#include "orchestrator/bench/results/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace baton::orchestrator::bench {
namespace {

// Expected figures are those that numpy 2 prints for the same lists.
TEST(Sample, HasNumpysFigures) {
  const Sample sample({15, 20, 35, 40, 50});
  EXPECT_DOUBLE_EQ(sample.mean(), 32);
  EXPECT_NEAR(sample.std(), 12.884098726725126, 1e-12);
  EXPECT_DOUBLE_EQ(sample.median(), 35);
  EXPECT_DOUBLE_EQ(sample.percentile(40), 29);
  EXPECT_DOUBLE_EQ(sample.percentile(90), 46);
  EXPECT_NEAR(sample.percentile(99), 49.6, 1e-12);
  EXPECT_DOUBLE_EQ(sample.percentile(0), 15);
  EXPECT_DOUBLE_EQ(sample.percentile(100), 50);
  EXPECT_DOUBLE_EQ(sample.max(), 50);
}

TEST(Sample, InterpolatesBetweenRanksWhateverTheOrder) {
  const Sample sample({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(sample.median(), 2.5);
  EXPECT_DOUBLE_EQ(sample.percentile(75), 3.25);
  EXPECT_NEAR(sample.percentile(99.9), 3.997, 1e-12);
}

TEST(Sample, OfOneValueOrNone) {
  const Sample one({7});
  EXPECT_DOUBLE_EQ(one.percentile(99), 7);
  EXPECT_DOUBLE_EQ(one.std(), 0);
  const Sample none;
  EXPECT_TRUE(none.empty());
  EXPECT_DOUBLE_EQ(none.mean(), 0);
  EXPECT_DOUBLE_EQ(none.percentile(50), 0);
  EXPECT_DOUBLE_EQ(none.max(), 0);
}

// t(0.975, 4) = 2.776445; s = sqrt(2.5).
TEST(MeanInterval, IsStudents) {
  const auto interval = mean_interval(std::vector<double>{1, 2, 3, 4, 5});
  ASSERT_TRUE(interval);
  EXPECT_DOUBLE_EQ(interval->estimate, 3);
  const double reach = 2.7764451051977987 * std::sqrt(2.5 / 5);
  EXPECT_NEAR(interval->low, 3 - reach, 1e-9);
  EXPECT_NEAR(interval->high, 3 + reach, 1e-9);
}

TEST(MeanInterval, NeedsTwoValues) {
  EXPECT_FALSE(mean_interval(std::vector<double>{1}));
  EXPECT_FALSE(mean_interval({}));
  EXPECT_TRUE(mean_interval(std::vector<double>{1, 2}));
}

TEST(MeanInterval, HoldsTheTruthNineteenTimesInTwenty) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> draw(10, 3);
  int held = 0;
  constexpr int kTrials = 2000;
  for (int i = 0; i < kTrials; ++i) {
    std::vector<double> values;
    for (int j = 0; j < 5; ++j) values.push_back(draw(random));
    const auto interval = mean_interval(values);
    if (interval->low <= 10 && interval->high >= 10) ++held;
  }
  EXPECT_GT(held, kTrials * 0.93);
  EXPECT_LT(held, kTrials * 0.97);
}

TEST(RatioInterval, IsSymmetricInTheLogarithm) {
  const auto interval = ratio_interval(std::vector<double>{0.5, 1, 2});
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->estimate, 1, 1e-12);
  EXPECT_NEAR(interval->low * interval->high, 1, 1e-9);
  EXPECT_LT(interval->low, 0.5);
}

TEST(RatioInterval, OfInvertedRatiosIsInverted) {
  const auto up = ratio_interval(std::vector<double>{1.1, 1.2, 1.3});
  const auto down = ratio_interval(std::vector<double>{1 / 1.1, 1 / 1.2, 1 / 1.3});
  EXPECT_NEAR(up->low, 1 / down->high, 1e-12);
  EXPECT_NEAR(up->high, 1 / down->low, 1e-12);
}

TEST(BootstrapMedian, IsReproducibleByItsSeed) {
  std::vector<double> ratios;
  for (int i = 0; i < 50; ++i) ratios.push_back(1 + i / 100.0);
  const auto first = bootstrap_median(ratios, 3);
  const auto again = bootstrap_median(ratios, 3);
  const auto other = bootstrap_median(ratios, 4);
  ASSERT_TRUE(first && again && other);
  EXPECT_EQ(first->low, again->low);
  EXPECT_EQ(first->high, again->high);
  EXPECT_TRUE(first->low != other->low || first->high != other->high);
  EXPECT_NEAR(first->estimate, std::sqrt(1.24 * 1.25), 1e-9);
  EXPECT_LT(first->low, first->estimate);
  EXPECT_GT(first->high, first->estimate);
}

TEST(BootstrapMedian, NeedsSomePairs) {
  EXPECT_FALSE(bootstrap_median(std::vector<double>(kFewestBootstrapPairs - 1, 1.0), 1));
  EXPECT_TRUE(bootstrap_median(std::vector<double>(kFewestBootstrapPairs, 1.0), 1));
}

TEST(BootstrapMedian, HoldsTheTruthAboutNineteenTimesInTwenty) {
  std::mt19937_64 random(5);
  std::lognormal_distribution<double> draw(std::log(1.2), 0.4);
  int held = 0;
  constexpr int kTrials = 400;
  for (int i = 0; i < kTrials; ++i) {
    std::vector<double> ratios;
    for (int j = 0; j < 60; ++j) ratios.push_back(draw(random));
    const auto interval = bootstrap_median(ratios, static_cast<std::uint64_t>(i), 400);
    if (interval->low <= 1.2 && interval->high >= 1.2) ++held;
  }
  EXPECT_GT(held, kTrials * 0.90);
  EXPECT_LT(held, kTrials * 0.99);
}

TEST(SignTest, IsExact) {
  EXPECT_NEAR(sign_test(std::vector<double>{1.1, 1.2, 1.3, 1.4, 1.5}), 2 * std::pow(0.5, 5), 1e-12);
  EXPECT_NEAR(sign_test(std::vector<double>{1.1, 1.2, 1.3, 1.4, 0.5}), 2 * 6 * std::pow(0.5, 5),
              1e-12);
  EXPECT_DOUBLE_EQ(sign_test(std::vector<double>{0.9, 1.1}), 1);
}

TEST(SignTest, LeavesTiesOut) {
  EXPECT_DOUBLE_EQ(sign_test(std::vector<double>{1, 1, 1}), 1);
  EXPECT_NEAR(sign_test(std::vector<double>{1, 1, 2, 2, 2}), 0.25, 1e-12);
}

}  // namespace
}  // namespace baton::orchestrator::bench
