#include "orchestrator/simulate/ratio.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace baton::orchestrator::simulate {
namespace {

// Good where both stages have pods for their work; else the scarcer one's share of it.
double share(int prefill, int decode, double prefill_work, double decode_work) {
  return std::min({1.0, prefill / prefill_work, decode / decode_work});
}

TEST(RatioTest, FindsTheFewestPodsAndTheirSplit) {
  for (const auto& [prefill_work, decode_work] :
       {std::pair(3.0, 5.0), {1.0, 1.0}, {9.0, 2.0}, {0.5, 17.0}, {20.0, 20.0}}) {
    const auto found = find_ratio({.most_pods = 64, .good_share = 1.0},
                                  [&](int prefill, int decode) -> Result<double> {
                                    return share(prefill, decode, prefill_work, decode_work);
                                  });
    ASSERT_TRUE(found);
    ASSERT_TRUE(found->best) << prefill_work << ' ' << decode_work;
    EXPECT_EQ(found->best->prefill, std::max(1, int(std::ceil(prefill_work))));
    EXPECT_EQ(found->best->decode, std::max(1, int(std::ceil(decode_work))));
    EXPECT_LT(found->tried.size(), 100U);
  }
}

// Few prefill pods do where decode pods help out, and few decode pods where answers are short.
TEST(RatioTest, FindsASplitBehindAValley) {
  const auto found = find_ratio({.most_pods = 8, .good_share = 0.95},
                                [](int prefill, int decode) -> Result<double> {
                                  if (prefill + decode < 4) return 0.3;
                                  return prefill >= 3 ? 1.0 : 0.45 - 0.1 * (prefill - 1);
                                });
  ASSERT_TRUE(found->best);
  EXPECT_EQ(found->best->pods(), 4);
  EXPECT_EQ(found->best->prefill, 3);
}

TEST(RatioTest, TriesNothingTwiceAndNoMoreThanTheMost) {
  const auto found = find_ratio({.most_pods = 10, .good_share = 1.0},
                                [&](int prefill, int decode) -> Result<double> {
                                  EXPECT_GE(prefill, 1);
                                  EXPECT_GE(decode, 1);
                                  EXPECT_LE(prefill + decode, 10);
                                  return share(prefill, decode, 8, 8);
                                });
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->best);
  auto tried = found->tried;
  const auto pair = [](const Ratio& r) { return std::pair(r.prefill, r.decode); };
  std::ranges::sort(tried, {}, pair);
  EXPECT_EQ(std::ranges::adjacent_find(tried, {}, pair), tried.end());
}

TEST(RatioTest, AnErrorEndsIt) {
  const auto found = find_ratio({}, [](int, int) -> Result<double> {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig, "no such file");
  });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "no such file");
}

}  // namespace
}  // namespace baton::orchestrator::simulate
