#include "core/picking/pair_factors.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(PairFactors, RemembersTheMostRecentPairsOfAPoolOfAnySize) {
  PairFactors pairs;
  const auto slow_down = [&pairs](std::uint32_t from, std::uint32_t to) {
    pairs.of(from, to).learn(1.0, 0.2, 0.2);
  };
  for (std::uint32_t to = 0; to < 10'000; ++to) {
    slow_down(1, 2);  // used all the time
    slow_down(3, to);
  }
  std::size_t remembered = 0;
  for (std::uint32_t to = 0; to < 10'000; ++to) remembered += pairs.get(3, to) > 1.0 ? 1 : 0;
  EXPECT_LT(remembered, PairFactors::kPairs);
  EXPECT_GT(remembered, PairFactors::kPairs / 2);
  EXPECT_GT(pairs.get(1, 2), 1.0);
  EXPECT_GT(pairs.get(3, 9'999), 1.0);
  EXPECT_EQ(pairs.get(2, 1), 1.0);
  pairs.forget_pod(2);
  EXPECT_EQ(pairs.get(1, 2), 1.0);
}

}  // namespace
}  // namespace baton
