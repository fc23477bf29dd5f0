#include "orchestrator/bench/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace baton::orchestrator::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A workload of so many requests, half a second apart where it has times.
class Requests final : public Workload {
 public:
  explicit Requests(std::optional<std::size_t> count, bool times = false)
      : count_(count), times_(times) {}
  [[nodiscard]] std::optional<std::size_t> size() const override { return count_; }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t) override { return WorkloadRequest{}; }
  [[nodiscard]] bool has_times() const override { return times_; }
  [[nodiscard]] Duration time_of(std::size_t index) override { return milliseconds(500) * index; }
  [[nodiscard]] std::string describe() const override { return "requests"; }

 private:
  std::optional<std::size_t> count_;
  bool times_;
};

RunPlan planned(const LoadOptions& load, Workload& workload) {
  auto plan = plan_run(load, workload);
  EXPECT_TRUE(plan.has_value()) << plan.error().message;
  return plan.value_or(RunPlan{});
}

std::string refused(const LoadOptions& load, Workload& workload) {
  const auto plan = plan_run(load, workload);
  EXPECT_FALSE(plan.has_value());
  return plan ? std::string() : plan.error().message;
}

TEST(PlanRun, ARateFillsTheDurationAndTheWarmUpBeforeIt) {
  Requests workload(std::nullopt);
  const RunPlan plan = planned({.rate = 10,
                                .burstiness = std::numeric_limits<double>::infinity(),
                                .duration = seconds(4),
                                .warmup = seconds(2)},
                               workload);
  EXPECT_EQ(plan.requests, 60U);
  ASSERT_EQ(plan.schedule.size(), 60U);
  EXPECT_EQ(plan.schedule.back(), milliseconds(5900));
  EXPECT_EQ(plan.window.from, Duration(seconds(2)));
  EXPECT_EQ(
      std::ranges::count_if(plan.schedule, [&](Duration at) { return at >= plan.window.from; }),
      40);
}

TEST(PlanRun, AWorkloadThatEndsEndsTheRun) {
  Requests workload(7);
  EXPECT_EQ(planned({.rate = 10, .requests = 100}, workload).requests, 7U);
  EXPECT_EQ(planned({.rate = 10}, workload).requests, 7U);
  EXPECT_EQ(planned({.concurrency = 3, .requests = 5}, workload).requests, 5U);
  EXPECT_EQ(planned({.concurrency = 3}, workload).requests, 7U);
}

TEST(PlanRun, WithoutAnEndItIsAHundredRequests) {
  Requests workload(std::nullopt);
  EXPECT_EQ(planned({.rate = 10}, workload).requests, LoadOptions::kFewRequests);
  EXPECT_EQ(planned({.concurrency = 2}, workload).requests, LoadOptions::kFewRequests);
  EXPECT_EQ(planned({.rate = std::numeric_limits<double>::infinity()}, workload).requests,
            LoadOptions::kFewRequests);
}

TEST(PlanRun, AClosedLoopOfADurationHasNoScheduleAndStopsSending) {
  Requests workload(std::nullopt);
  const RunPlan plan =
      planned({.concurrency = 4, .duration = seconds(3), .warmup = seconds(1)}, workload);
  EXPECT_TRUE(plan.schedule.empty());
  EXPECT_EQ(plan.stop_sending_after, Duration(seconds(4)));
  EXPECT_GT(plan.requests, 1000000U);
}

TEST(PlanRun, ATracePlaysAtItsTimesUnlessARateIsGiven) {
  Requests trace(20, true);
  const RunPlan plan = planned({}, trace);
  ASSERT_EQ(plan.schedule.size(), 20U);
  EXPECT_EQ(plan.schedule[3], Duration(milliseconds(1500)));
  EXPECT_EQ(planned({.duration = seconds(2)}, trace).requests, 4U);
  EXPECT_EQ(planned({.requests = 6}, trace).requests, 6U);
  EXPECT_NE(planned({.rate = 100}, trace).schedule[3], Duration(milliseconds(1500)));
}

TEST(PlanRun, ALoadThatSaysNothingIsRefused) {
  Requests workload(std::nullopt);
  EXPECT_THAT(refused({}, workload), ::testing::HasSubstr("--rate R"));
}

TEST(PlanRun, AWarmUpBeyondTheRunIsRefused) {
  Requests trace(5, true);
  EXPECT_THAT(refused({.warmup = seconds(60)}, trace), ::testing::HasSubstr("warm-up"));
}

}  // namespace
}  // namespace baton::orchestrator::bench
