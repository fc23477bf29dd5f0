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
  EXPECT_GE(truth.ttft.mean_off_ms(), 0);
  EXPECT_GE(truth.ttft.truth_mean_ms, 20);
  ASSERT_TRUE(result->streams);
  EXPECT_EQ(result->streams->completed, 4u);
  EXPECT_GT(result->streams->events_per_s, 0);
}

TEST(MetricCheck, AllowsOnePercentOrOneMillisecond) {
  EXPECT_TRUE((MetricCheck{50.9, 50, 51, 50}.within()));
  EXPECT_FALSE((MetricCheck{51.1, 50, 50, 50}.within()));
  EXPECT_TRUE((MetricCheck{1009, 1000, 991, 1000}.within()));
  EXPECT_FALSE((MetricCheck{1000, 1000, 1011, 1000}.within()));
}

}  // namespace
}  // namespace baton::orchestrator::bench
