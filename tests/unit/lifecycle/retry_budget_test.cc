#include "orchestrator/lifecycle/retry_budget.h"

#include <gtest/gtest.h>

namespace baton::orchestrator {
namespace {

constexpr TimePoint kStart{std::chrono::seconds(100)};

TEST(RetryBudget, AQuietRouterHasTheFloor) {
  RetryBudget budget(0.2);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.take(kStart));
  EXPECT_FALSE(budget.take(kStart));
}

TEST(RetryBudget, TheFloorComesBackWithTime) {
  RetryBudget budget(0.0);
  while (budget.take(kStart)) {
  }
  EXPECT_FALSE(budget.take(kStart + std::chrono::milliseconds(900)));
  EXPECT_TRUE(budget.take(kStart + std::chrono::milliseconds(1500)));
  EXPECT_FALSE(budget.take(kStart + std::chrono::milliseconds(1500)));
  int taken = 0;
  while (budget.take(kStart + std::chrono::hours(1))) ++taken;
  EXPECT_EQ(taken, 10) << "time fills it to the floor, not beyond";
}

TEST(RetryBudget, RequestsPutTheirShareIn) {
  RetryBudget budget(0.2);
  while (budget.take(kStart)) {
  }
  int taken = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.on_request(kStart);
    if (budget.take(kStart)) ++taken;
  }
  EXPECT_NEAR(taken, 200, 1);
}

TEST(RetryBudget, SavingsAreBounded) {
  RetryBudget budget(0.2);
  for (int i = 0; i < 100000; ++i) budget.on_request(kStart);
  int taken = 0;
  while (budget.take(kStart)) ++taken;
  EXPECT_LE(taken, 110);
}

}  // namespace
}  // namespace baton::orchestrator
