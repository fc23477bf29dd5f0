#include "orchestrator/bench/results/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

// 40 requests whose TTFT is `factor` times what their index and round make of it.
ComparedRun run_of_round(int round, double factor, std::uint64_t noise_seed) {
  std::mt19937_64 random(noise_seed);
  std::lognormal_distribution<double> noise(0, 0.02);
  std::vector<RequestRecord> records;
  for (std::size_t i = 0; i < 40; ++i) {
    const double ttft = (50 + 5.0 * static_cast<double>(i) + 20 * round) * factor * noise(random);
    records.push_back(completed({.index = i,
                                 .scheduled_ms = static_cast<double>(i) * 100,
                                 .ttft_ms = ttft,
                                 .gaps_ms = {10, 10, 10}}));
  }
  return {summarize(run_of(records), options_of({.ttft_ms = 1000})), request_times(records, {})};
}

ComparedSide side_of(const std::string& name, int rounds, double factor, std::uint64_t seed) {
  ComparedSide side{name, "http://" + name, {}};
  for (int i = 0; i < rounds; ++i) {
    side.runs.push_back(run_of_round(i, factor, seed * 100 + static_cast<std::uint64_t>(i)));
  }
  return side;
}

Json ratio_of(const Json& comparison, const std::string& metric) {
  for (const Json& ratio : comparison["ratios"]) {
    if (ratio["metric"] == metric) return ratio;
  }
  ADD_FAILURE() << "no ratio of " << metric;
  return {};
}

TEST(Compare, FindsAKnownRatioOverRounds) {
  const Json comparison =
      compare({side_of("a", 5, 1, 1), side_of("b", 5, 0.8, 2)}, {.version = "1"});
  EXPECT_EQ(comparison["kind"], "compare");
  EXPECT_EQ(comparison["sides"][1]["name"], "b");
  EXPECT_EQ(comparison["sides"][1]["target"], "http://b");
  EXPECT_EQ(comparison["sides"][1]["runs"].size(), 5U);
  const Json ratio = ratio_of(comparison, "mean_ttft_ms");
  EXPECT_EQ(ratio["side"], "b");
  EXPECT_EQ(ratio["base"], "a");
  EXPECT_EQ(ratio["basis"], "rounds");
  EXPECT_EQ(ratio["pairs"], 5);
  EXPECT_NEAR(ratio["ratio"].get<double>(), 0.8, 0.01);
  EXPECT_LT(ratio["low"], 0.8);
  EXPECT_GT(ratio["high"], 0.8);
  EXPECT_LT(ratio["high"], 0.85);
  EXPECT_EQ(ratio["verdict"], "better");
  EXPECT_DOUBLE_EQ(ratio["p_sign"], 2 / 32.0);
}

TEST(Compare, PairsRequestsToo) {
  const Json comparison = compare({side_of("a", 3, 1, 1), side_of("b", 3, 1.25, 2)}, {});
  const Json ratio = ratio_of(comparison, "paired_ttft_ms");
  EXPECT_EQ(ratio["basis"], "requests");
  EXPECT_EQ(ratio["pairs"], 120);
  EXPECT_NEAR(ratio["ratio"].get<double>(), 1.25, 0.02);
  EXPECT_EQ(ratio["verdict"], "worse");
}

TEST(Compare, ShowsNoDifferenceWhereThereIsNone) {
  const Json comparison = compare({side_of("a", 5, 1, 1), side_of("b", 5, 1, 2)}, {});
  EXPECT_EQ(ratio_of(comparison, "mean_ttft_ms")["verdict"], "no difference shown");
  EXPECT_EQ(ratio_of(comparison, "mean_tpot_ms")["verdict"], "no difference shown");
}

TEST(Compare, ClaimsADifferenceOfEqualsOneTimeInTwenty) {
  int claimed = 0;
  constexpr int kTrials = 60;
  for (int i = 0; i < kTrials; ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    const Json comparison =
        compare({side_of("a", 4, 1, 2 * seed + 1), side_of("b", 4, 1, 2 * seed + 2)}, {});
    if (ratio_of(comparison, "mean_ttft_ms")["verdict"] != "no difference shown") ++claimed;
  }
  EXPECT_GT(claimed, 0);
  EXPECT_LT(claimed, kTrials / 6);
}

TEST(Compare, OfOneRoundRestsOnRequests) {
  const Json comparison = compare({side_of("a", 1, 1, 1), side_of("b", 1, 0.5, 2)}, {.seed = 3});
  const Json ttft = ratio_of(comparison, "median_ttft_ms");
  EXPECT_EQ(ttft["basis"], "requests");
  EXPECT_EQ(ttft["pairs"], 40);
  EXPECT_NEAR(ttft["ratio"].get<double>(), 0.5, 0.01);
  EXPECT_EQ(ttft["verdict"], "better");
  const Json p99 = ratio_of(comparison, "p99_ttft_ms");
  EXPECT_EQ(p99["basis"], "one round");
  EXPECT_TRUE(p99["low"].is_null());
  EXPECT_TRUE(p99["p_sign"].is_null());
  EXPECT_EQ(p99["verdict"], "no interval");
  EXPECT_EQ(ratio_of(comparison, "output_throughput")["basis"], "one round");
  EXPECT_EQ(comparison, compare({side_of("a", 1, 1, 1), side_of("b", 1, 0.5, 2)}, {.seed = 3}));
}

TEST(Compare, DoesNotHideRoundsWithoutGoodput) {
  ComparedSide base = side_of("a", 3, 1, 1);
  ComparedSide side = base;
  side.name = "b";
  for (std::size_t i = 0; i < 3; ++i) {
    base.runs[i].summary["request_goodput"] = 10.0;
    side.runs[i].summary["request_goodput"] = i == 2 ? 9.0 : 0.0;
  }
  const Json ratio = ratio_of(compare({base, side}, {}), "request_goodput");
  EXPECT_DOUBLE_EQ(ratio["ratio"], 0.3);
  EXPECT_EQ(ratio["basis"], "means of rounds");
  EXPECT_EQ(ratio["pairs"], 3);
  EXPECT_TRUE(ratio["low"].is_null());
}

TEST(Compare, HoldsMoreOfARateBetter) {
  ComparedSide base = side_of("a", 3, 1, 1);
  ComparedSide side = base;
  side.name = "b";
  double factor = 1.1;
  for (ComparedRun& run : side.runs) {
    run.summary["output_throughput"] = run.summary["output_throughput"].get<double>() * factor;
    factor += 0.01;
  }
  EXPECT_EQ(ratio_of(compare({base, side}, {}), "output_throughput")["verdict"], "better");
  EXPECT_EQ(ratio_of(compare({side, base}, {}), "output_throughput")["verdict"], "worse");
}

TEST(Compare, PairsOnlyWhatBothCompleted) {
  ComparedSide base = side_of("a", 1, 1, 1);
  ComparedSide side = side_of("b", 1, 1, 2);
  std::erase_if(side.runs[0].times, [](const RequestTimes& times) { return times.index % 4 == 0; });
  base.runs[0].times.erase(base.runs[0].times.begin() + 1);
  EXPECT_EQ(ratio_of(compare({base, side}, {}), "median_ttft_ms")["pairs"], 29);
}

TEST(Compare, LeavesOutWhatASideDoesNotHave) {
  RequestRecord whole = completed({});
  whole.streamed = false;
  const std::vector<RequestRecord> records = {whole};
  const ComparedRun run{summarize(run_of(records), options_of()), request_times(records, {})};
  const Json comparison =
      compare({ComparedSide{"a", "", {run, run}}, ComparedSide{"b", "", {run, run}}}, {});
  for (const Json& ratio : comparison["ratios"]) {
    EXPECT_THAT(ratio["metric"].get<std::string>(), testing::Not(testing::HasSubstr("ttft")));
  }
  EXPECT_EQ(ratio_of(comparison, "mean_e2el_ms")["ratio"], 1.0);
}

TEST(Compare, SetsEachSideAgainstTheFirst) {
  const Json comparison =
      compare({side_of("a", 2, 1, 1), side_of("b", 2, 1, 2), side_of("c", 2, 1, 3)}, {});
  EXPECT_EQ(std::ranges::count_if(comparison["ratios"].get<std::vector<Json>>(),
                                  [](const Json& ratio) { return ratio["base"] == "a"; }),
            static_cast<std::ptrdiff_t>(comparison["ratios"].size()));
  EXPECT_EQ(comparison["ratios"].back()["side"], "c");
}

TEST(RequestTimes, AreOfCompletedRequestsOfTheWindow) {
  const auto times =
      request_times({completed({.index = 2, .scheduled_ms = 20}),
                     completed({.index = 1, .scheduled_ms = 10, .gaps_ms = {5}}),
                     completed({.index = 0}), failed(3, 15, Outcome::kTimeout, 0, "")},
                    {ms(5), ms(100)});
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[0].index, 1U);
  EXPECT_EQ(times[0].tpot_ms, 5);
  EXPECT_FALSE(times[1].tpot_ms);
}

TEST(CompareTable, SaysRatiosAndTheirGround) {
  const std::string rounds =
      render_compare(compare({side_of("a", 5, 1, 1), side_of("b", 5, 0.8, 2)}, {}));
  EXPECT_THAT(rounds, testing::HasSubstr("b / a"));
  EXPECT_THAT(rounds, testing::HasSubstr("5 rounds"));
  EXPECT_THAT(rounds, testing::HasSubstr("better"));
  EXPECT_THAT(rounds, testing::HasSubstr("TTFT, request by request"));
  EXPECT_THAT(rounds, testing::Not(testing::HasSubstr("Run more rounds")));
  const std::string one =
      render_compare(compare({side_of("a", 1, 1, 1), side_of("b", 1, 1, 2)}, {}));
  EXPECT_THAT(one, testing::HasSubstr("Run more rounds"));
  EXPECT_THAT(one, testing::HasSubstr("no interval"));
}

}  // namespace
}  // namespace baton::orchestrator::bench
