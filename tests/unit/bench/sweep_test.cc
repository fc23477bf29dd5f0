#include "orchestrator/bench/results/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

using Share = std::function<double(double rate)>;

constexpr int kOffered = 1000;

Json run_at(double rate, double share, bool sound = true) {
  const double good = std::round(share * kOffered);
  return {{"request_rate", rate},
          {"request_goodput", rate * good / kOffered},
          {"median_ttft_ms", 10.0},
          {"median_tpot_ms", 2.0},
          {"baton",
           {{"sound", sound},
            {"partial", false},
            {"goodput",
             {{"offered", kOffered},
              {"good", good},
              {"share", good / kOffered},
              {"requests_per_s", rate * good / kOffered}}}}}};
}

std::vector<Json> sweep(GoodputSearch& search, const Share& share) {
  std::vector<Json> runs;
  while (const auto rate = search.next_rate()) {
    runs.push_back(run_at(*rate, share(*rate)));
    search.observe(*rate, runs.back());
  }
  return runs;
}

Share step_at(double limit) {
  return [limit](double rate) { return rate <= limit ? 1.0 : 0.3; };
}

TEST(GoodputSearch, FindsTheLimitWithinItsTolerance) {
  for (const double limit : {1.0, 3.7, 10.0, 37.5, 400.0}) {
    GoodputSearch search({.from_rate = 1, .tolerance = 0.05, .max_points = 30});
    sweep(search, step_at(limit));
    const SweepResult result = search.result();
    ASSERT_TRUE(result.best && result.breaks_at) << limit;
    EXPECT_LE(result.best->rate, limit);
    EXPECT_GT(*result.breaks_at, limit);
    EXPECT_LE(*result.breaks_at / result.best->rate, 1.05);
    EXPECT_DOUBLE_EQ(result.best->goodput, result.best->rate);
    EXPECT_FALSE(result.generator_bound);
  }
}

TEST(GoodputSearch, GrowsGeometricallyThenHalves) {
  GoodputSearch search({.from_rate = 2, .growth = 2, .tolerance = 0.5, .max_points = 30});
  std::vector<double> rates;
  for (const Json& run : sweep(search, step_at(9))) rates.push_back(run["request_rate"]);
  EXPECT_THAT(rates, testing::ElementsAre(2, 4, 8, 16, testing::DoubleEq(std::sqrt(128.0))));
}

TEST(GoodputSearch, GoesDownWhereTheFirstRateIsTooHigh) {
  GoodputSearch search({.from_rate = 64, .tolerance = 0.1, .max_points = 30});
  sweep(search, step_at(5));
  const SweepResult result = search.result();
  ASSERT_TRUE(result.best);
  EXPECT_LE(result.best->rate, 5);
  EXPECT_GT(result.best->rate, 5 / 1.1);
}

TEST(GoodputSearch, GivesUpWhereNoRateIsLowEnough) {
  GoodputSearch search({.from_rate = 8, .max_points = 100});
  const auto runs = sweep(search, [](double) { return 0.0; });
  EXPECT_LE(runs.size(), 11U);
  EXPECT_FALSE(search.result().best);
  EXPECT_EQ(search.result().peak->goodput, 0);
  EXPECT_FALSE(search.result().knee);
}

TEST(GoodputSearch, EndsAfterItsPointsWhereNothingBreaks) {
  GoodputSearch search({.from_rate = 1, .max_points = 6});
  EXPECT_EQ(sweep(search, step_at(1e9)).size(), 6U);
  const SweepResult result = search.result();
  EXPECT_EQ(result.best->rate, 32);
  EXPECT_FALSE(result.breaks_at);
  EXPECT_FALSE(result.knee);
}

TEST(GoodputSearch, RunsARateNearTheBorderOnceMoreAndJudgesByBoth) {
  GoodputSearch search({.from_rate = 10, .good_share = 0.95, .max_points = 30});
  search.observe(10, run_at(10, 0.945));  // within two standard errors of 1,000 requests
  ASSERT_EQ(search.next_rate(), 10);
  search.observe(10, run_at(10, 0.961));
  EXPECT_EQ(search.next_rate(), 20);
  ASSERT_EQ(search.points().size(), 1U);
  EXPECT_EQ(search.points()[0].runs, 2);
  EXPECT_EQ(search.points()[0].offered, 2 * kOffered);
  EXPECT_DOUBLE_EQ(search.points()[0].share, 0.953);
  EXPECT_NEAR(search.points()[0].goodput, 9.53, 1e-9);
}

TEST(GoodputSearch, RepeatsNothingFarFromTheBorder) {
  GoodputSearch search({.from_rate = 10, .max_points = 30});
  search.observe(10, run_at(10, 0.5));
  EXPECT_EQ(search.next_rate(), 5);
}

// Share falls smoothly through 0.95 at 40/s; each run sees it with binomial noise.
TEST(GoodputSearch, ConvergesUnderNoise) {
  const Share truth = [](double rate) { return 1 / (1 + 0.05263 * std::pow(rate / 40, 12)); };
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    GoodputSearch search({.from_rate = 1, .tolerance = 0.05, .max_points = 30});
    const auto runs = sweep(search, [&](double rate) {
      std::binomial_distribution<int> good(kOffered, truth(rate));
      return static_cast<double>(good(random)) / kOffered;
    });
    const SweepResult result = search.result();
    ASSERT_TRUE(result.best) << "seed " << seed;
    EXPECT_NEAR(result.best->rate, 40, 40 * 0.1) << "seed " << seed;
    EXPECT_LT(runs.size(), 25U) << "seed " << seed;
  }
}

TEST(GoodputSearch, DoesNotClimbOnUnsoundRuns) {
  GoodputSearch search({.from_rate = 10, .tolerance = 0.2, .max_points = 30});
  search.observe(10, run_at(10, 1));
  search.observe(20, run_at(20, 1, false));
  EXPECT_LT(*search.next_rate(), 20);
  const SweepResult result = search.result();
  EXPECT_EQ(result.best->rate, 10);
  EXPECT_TRUE(result.generator_bound);
}

std::vector<SweepPoint> points_of(const std::vector<std::pair<double, double>>& pairs) {
  std::vector<SweepPoint> points;
  for (const auto& [rate, goodput] : pairs) {
    SweepPoint& point = points.emplace_back();
    point.rate = rate;
    point.goodput = goodput;
  }
  return points;
}

TEST(Knee, IsWhereGoodputStopsFollowing) {
  EXPECT_EQ(knee_of(points_of({{1, 1}, {2, 2}, {4, 4}, {8, 8}, {12, 8.5}, {16, 8.6}})), 8);
  EXPECT_EQ(knee_of(points_of({{1, 1}, {4, 4}, {8, 7.9}, {16, 2}})), 8);
}

TEST(Knee, IsNoneOnAStraightLineOrFewPoints) {
  EXPECT_FALSE(knee_of(points_of({{1, 1}, {2, 2}, {4, 3.95}, {8, 8}})));
  EXPECT_FALSE(knee_of(points_of({{1, 1}, {8, 1}})));
  EXPECT_FALSE(knee_of(points_of({{1, 0}, {2, 0}, {4, 0}})));
}

Json swept_file(double limit, int max_points = 30) {
  GoodputSearch search({.from_rate = 1, .tolerance = 0.2, .max_points = max_points});
  auto runs = sweep(search, step_at(limit));
  return sweep_json(search, std::move(runs), {.ttft_ms = 100}, "1.2.3");
}

TEST(SweepFile, HasItsRunsByRateAndTheBest) {
  const Json file = swept_file(10);
  EXPECT_EQ(file["kind"], "sweep");
  EXPECT_EQ(file["baton_version"], "1.2.3");
  EXPECT_EQ(file["slo"]["ttft_ms"], 100);
  std::vector<double> rates;
  for (const Json& run : file["points"]) rates.push_back(run["request_rate"]);
  EXPECT_GT(rates.size(), 5U);
  EXPECT_TRUE(std::ranges::is_sorted(rates));
  EXPECT_NE(std::ranges::find(rates, file["best"]["request_rate"].get<double>()), rates.end());
  EXPECT_DOUBLE_EQ(file["best"]["request_goodput"], file["best"]["request_rate"]);
  EXPECT_EQ(file["knee"]["request_rate"], file["best"]["request_rate"]);
}

TEST(SweepFile, SaysNothingOfWhatWasNotFound) {
  const Json file = swept_file(1e9, 3);
  EXPECT_TRUE(file["knee"].is_null());
  EXPECT_TRUE(file["breaks_at"].is_null());
  EXPECT_TRUE(swept_file(0, 3)["best"].is_null());
}

TEST(SweepTable, ShowsEachRateAndTheEnd) {
  const std::string table = render_sweep(swept_file(10));
  EXPECT_THAT(table, testing::HasSubstr("best knee"));
  EXPECT_THAT(table, testing::HasSubstr("with 95 % of the offered requests good (ttft <= 100 ms)"));
  EXPECT_THAT(render_sweep(swept_file(1e9, 3)), testing::HasSubstr("it broke at no rate"));
  EXPECT_THAT(render_sweep(swept_file(0, 3)), testing::HasSubstr("no rate had 95 %"));
  Json bound = swept_file(10);
  bound["generator_bound"] = true;
  EXPECT_THAT(render_sweep(bound), testing::HasSubstr("generator was the bottleneck"));
}

// Of what summarize() makes, not of a copy of its shape.
TEST(GoodputSearch, ReadsSummaries) {
  const Json run = summarize(run_of({completed({}), failed(1, 0, Outcome::kRejected, 429, "429")}),
                             options_of({.ttft_ms = 100}));
  GoodputSearch search({.from_rate = 10});
  search.observe(10, run);
  ASSERT_EQ(search.points().size(), 1U);
  EXPECT_DOUBLE_EQ(search.points()[0].share, 0.5);
  EXPECT_DOUBLE_EQ(search.points()[0].goodput, 10);
  EXPECT_FALSE(render_sweep(sweep_json(search, {run}, {.ttft_ms = 100}, "1")).empty());
}

}  // namespace
}  // namespace baton::orchestrator::bench
