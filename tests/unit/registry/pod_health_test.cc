#include "orchestrator/registry/pod_health.h"

#include <gtest/gtest.h>

namespace baton::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PodHealthTest : public testing::Test {
 protected:
  HealthEvent check(bool good) {
    now_ = health_.next_check();
    return health_.on_check(good, now_);
  }
  void become_healthy() { ASSERT_EQ(check(true), HealthEvent::kFirstSeen); }
  void fail_out() {
    while (health_.usable()) check(false);
  }

  TimePoint now_{seconds(1000)};
  PodHealth health_{HealthConfig{seconds(2), seconds(1), 3, 5}, now_};
};

TEST_F(PodHealthTest, IsCheckedAtOnceAndOftenUntilFirstSeen) {
  EXPECT_EQ(health_.next_check(), now_);
  EXPECT_EQ(health_.health(), Health::kUnknown);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(check(false), HealthEvent::kNone);
  EXPECT_EQ(health_.next_check() - now_, PodHealth::kFirstInterval);
  EXPECT_EQ(check(true), HealthEvent::kFirstSeen);
  EXPECT_TRUE(health_.usable());
  EXPECT_EQ(health_.next_check() - now_, seconds(2));
}

TEST_F(PodHealthTest, IsCheckedLessOftenIfItNeverComes) {
  now_ += PodHealth::kFirstPatience;
  health_.on_check(false, now_);
  EXPECT_EQ(health_.next_check() - now_, seconds(2));
  EXPECT_EQ(health_.health(), Health::kUnknown);
}

TEST_F(PodHealthTest, IsEjectedAfterFailuresInARow) {
  become_healthy();
  EXPECT_EQ(check(false), HealthEvent::kNone);
  EXPECT_EQ(check(false), HealthEvent::kNone);
  EXPECT_EQ(check(true), HealthEvent::kNone);
  EXPECT_EQ(check(false), HealthEvent::kNone);
  EXPECT_EQ(check(false), HealthEvent::kNone);
  EXPECT_TRUE(health_.usable());
  EXPECT_EQ(check(false), HealthEvent::kEjected);
  EXPECT_EQ(health_.health(), Health::kEjected);
  EXPECT_EQ(check(false), HealthEvent::kNone);
}

TEST_F(PodHealthTest, IsTakenBackByTheFirstGoodCheckAfterAFirstEjection) {
  become_healthy();
  fail_out();
  EXPECT_EQ(check(true), HealthEvent::kTakenBack);
  EXPECT_TRUE(health_.usable());
}

TEST_F(PodHealthTest, StaysOutLongerEachTimeItFlaps) {
  become_healthy();
  Duration longest{};
  for (int i = 0; i < 8; ++i) {
    fail_out();
    const TimePoint out_since = now_;
    int checks = 0;
    while (check(true) != HealthEvent::kTakenBack) ASSERT_LT(++checks, 100);
    const Duration out = now_ - out_since;
    EXPECT_GE(out, longest);
    EXPECT_LE(out, PodHealth::kLongestEjection);
    longest = out;
  }
  EXPECT_EQ(longest, PodHealth::kLongestEjection);
}

TEST_F(PodHealthTest, ForgetsEjectionsOfAPodThatStaysHealthy) {
  become_healthy();
  fail_out();
  ASSERT_EQ(check(true), HealthEvent::kTakenBack);
  for (int i = 0; i <= PodHealth::kForgetEjections; ++i) check(true);
  fail_out();
  EXPECT_EQ(check(true), HealthEvent::kTakenBack);
}

TEST_F(PodHealthTest, IsEjectedByRequestErrorsAndStaysOutAnInterval) {
  become_healthy();
  EXPECT_EQ(health_.on_request_errors(4, now_), HealthEvent::kNone);
  now_ += milliseconds(500);
  EXPECT_EQ(health_.on_request_errors(5, now_), HealthEvent::kEjectedByErrors);
  EXPECT_EQ(health_.on_request_errors(6, now_), HealthEvent::kNone);
  EXPECT_EQ(health_.on_check(true, now_ + milliseconds(100)), HealthEvent::kNone);
  EXPECT_EQ(health_.next_check(), now_ + seconds(2));
  EXPECT_EQ(health_.on_check(true, now_ + seconds(2)), HealthEvent::kTakenBack);
}

TEST_F(PodHealthTest, DrainingHidesHealthAndIsUndone) {
  become_healthy();
  health_.set_draining(true);
  EXPECT_EQ(health_.health(), Health::kDraining);
  EXPECT_FALSE(health_.usable());
  check(true);
  EXPECT_EQ(health_.health(), Health::kDraining);
  health_.set_draining(false);
  EXPECT_TRUE(health_.usable());
}

}  // namespace
}  // namespace baton::orchestrator
