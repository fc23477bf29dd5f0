#include "core/picking/log_filter.h"

#include <gtest/gtest.h>

#include <array>

namespace baton {
namespace {

TEST(LogFilter, ForgetsOnlyWhatItSeesMoreOf) {
  LogFilter<2> filter({0.0, 0.0}, {1.0, 1.0}, {0.0, 0.0}, 100);
  const auto see = [&filter](const std::array<double, 2>& slopes) {
    filter.learn(slopes, 0.0, filter.variance(slopes) + 0.01);
  };
  see({0.0, 1.0});
  const double other = filter.variance({0.0, 1.0});
  for (int i = 0; i < 5000; ++i) see({1.0, 0.0});
  EXPECT_EQ(filter.variance({0.0, 1.0}), other);
  EXPECT_NEAR(filter.variance({1.0, 0.0}), 0.01 / 100, 1e-5);
}

}  // namespace
}  // namespace baton
