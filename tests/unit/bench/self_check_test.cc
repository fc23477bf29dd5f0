#include "orchestrator/bench/generator/self_check.h"

#include <gtest/gtest.h>

namespace baton::orchestrator::bench {
namespace {

using namespace std::chrono_literals;

TEST(SelfCheck, ASlowRunAgreesWithTheServer) {
  SelfCheckOptions options;
  options.capacity_time = 50ms;
  options.sink_concurrency = 2;
  options.stream_concurrency = 8;
  options.capacity = 100;
  options.shares = {0.4};
  options.truth_time = 500ms;
  options.truth_runs = 1;
  options.streams = 4;
  options.tokens_per_s = 20;
  options.ramp_time = 100ms;
  options.hold_time = 2s;
  options.child_process = false;
  const auto result = self_check(options);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->short_requests.requests, 0u);
  EXPECT_EQ(result->short_requests.failed, 0u);
  EXPECT_GT(result->short_streams.requests, 0u);
  EXPECT_EQ(result->short_streams.failed, 0u);
  ASSERT_EQ(result->truth.size(), 1u);
  const TruthCheck& truth = result->truth[0];
  EXPECT_EQ(truth.requests, 20u);
  EXPECT_EQ(truth.unmatched, 0u);
  EXPECT_GE(truth.ttft.measured_mean_ms, truth.ttft.truth_mean_ms);
  EXPECT_GE(truth.ttft.truth_mean_ms, 20);
  ASSERT_TRUE(result->streams);
  EXPECT_EQ(result->streams->completed, 4u);
  EXPECT_GT(result->streams->events_per_s, 0);
}

TEST(MetricCheck, IsOffByMultiplesOfOnePercentOrOneMillisecond) {
  EXPECT_DOUBLE_EQ((MetricCheck{50.5, 50, 50, 50}.off()), 0.5);
  EXPECT_DOUBLE_EQ((MetricCheck{50, 50, 48, 50}.off()), 2);
  EXPECT_DOUBLE_EQ((MetricCheck{1005, 1000, 1000, 1000}.off()), 0.5);
  EXPECT_DOUBLE_EQ((MetricCheck{1000, 1000, 2020, 2000}.off()), 1);
}

TEST(TruthCheck, OneRequestJudgedOtherwiseIsWorseThanAnyTime) {
  TruthCheck check;
  check.ttft = {50.5, 50, 50, 50};
  check.itl = {7, 5, 5, 5};
  EXPECT_DOUBLE_EQ(check.worst(), 2);
  check.judged_otherwise = 1;
  EXPECT_GT(check.worst(), 1e9);
}

}  // namespace
}  // namespace baton::orchestrator::bench
