#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "orchestrator/bench/results/summary.h"
#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

Json repeat_with(double ttft) {
  return summary_of({completed({.ttft_ms = ttft, .gaps_ms = {10}})});
}

TEST(Repeats, ShowTheMiddleOneAndTheMeansWithTheirIntervals) {
  const Json summary = summarize_repeats({repeat_with(300), repeat_with(100), repeat_with(260)});
  EXPECT_DOUBLE_EQ(summary["median_ttft_ms"], 260);
  const Json& interval = summary["baton"]["intervals"]["median_ttft_ms"];
  EXPECT_DOUBLE_EQ(interval["mean"], 220);
  EXPECT_EQ(interval["repeats"], 3);
  const double reach = 4.302652729911275 * std::sqrt((6400 + 14400 + 1600) / 2.0 / 3);
  EXPECT_NEAR(interval["low"].get<double>(), 220 - reach, 1e-6);
  EXPECT_NEAR(interval["high"].get<double>(), 220 + reach, 1e-6);
  ASSERT_EQ(summary["baton"]["repeats"].size(), 3U);
  EXPECT_EQ(summary["baton"]["repeats"][1]["median_ttft_ms"], 100);
  EXPECT_TRUE(summary["baton"]["intervals"].contains("output_throughput"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("std_ttft_ms"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("num_prompts"));
}

TEST(Repeats, OfOneRunIsThatRun) {
  EXPECT_EQ(summarize_repeats({repeat_with(100)}), repeat_with(100));
  EXPECT_TRUE(summarize_repeats({}).empty());
}

TEST(Repeats, LeaveOutWhatNoRequestHad) {
  const Json one_token = summary_of({completed({})});
  const Json summary = summarize_repeats({one_token, one_token});
  EXPECT_TRUE(summary["baton"]["intervals"].contains("mean_ttft_ms"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("mean_tpot_ms"));
}

TEST(Repeats, AreUnsoundAndPartialWhereOneIs) {
  Json bad = repeat_with(100);
  bad["baton"]["sound"] = false;
  bad["baton"]["unsound_reasons"] = {"it was late"};
  bad["baton"]["partial"] = true;
  const Json summary = summarize_repeats({repeat_with(200), bad, repeat_with(300)});
  EXPECT_EQ(summary["baton"]["sound"], false);
  EXPECT_EQ(summary["baton"]["partial"], true);
  EXPECT_EQ(summary["baton"]["unsound_reasons"], Json({"repeat 2: it was late"}));
}

}  // namespace
}  // namespace baton::orchestrator::bench
