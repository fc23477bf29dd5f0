#include "core/picking/prefill_watch.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TimePoint at(double ms) {
  return TimePoint{} + std::chrono::hours(1) +
         std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

PrefillWatch::Done prompt(double sent_ms, double done_ms, int tokens = 100) {
  return {at(sent_ms), at(done_ms), PromptWork::of(Tokens(0), Tokens(tokens))};
}

TEST(PrefillWatch, TakesFromSendingOnAnIdlePod) {
  PrefillWatch watch;
  EXPECT_FALSE(watch.done(prompt(0, 10)));
  const auto first = watch.done(prompt(50, 70, 200));
  ASSERT_TRUE(first);
  EXPECT_NEAR(first->seconds, 10e-3, 1e-9);
  EXPECT_EQ(first->work.uncached_tokens, 100);
  EXPECT_EQ(first->work.pairs, 100 * 100);
  EXPECT_NEAR(watch.done(prompt(100, 101))->seconds, 20e-3, 1e-9);
}

TEST(PrefillWatch, TakesAFewPromptsOfABusyPodTogether) {
  PrefillWatch watch;
  for (const double done : {10, 20, 35, 40}) EXPECT_FALSE(watch.done(prompt(1, done)));
  const auto four = watch.done(prompt(2, 50));
  ASSERT_TRUE(four);
  EXPECT_EQ(four->work.prompts, 4);
  EXPECT_EQ(four->work.uncached_tokens, 400);
  EXPECT_NEAR(four->seconds, 39e-3, 1e-9);
  EXPECT_FALSE(watch.done(prompt(45, 60)));
  // Begins where the four ended; what follows was sent to an idle pod.
  const auto two = watch.done(prompt(90, 99));
  ASSERT_TRUE(two);
  EXPECT_EQ(two->work.prompts, 2);
  EXPECT_NEAR(two->seconds, 20e-3, 1e-9);
}

TEST(PrefillWatch, LeavesNoPromptOfAStepBehind) {
  PrefillWatch watch;
  for (const double done : {10.0, 20.0, 30.0, 40.0, 40.2}) {
    EXPECT_FALSE(watch.done(prompt(1, done)));
  }
  EXPECT_FALSE(watch.done(prompt(2, 39.9)));  // told late
  const auto six = watch.done(prompt(3, 50));
  ASSERT_TRUE(six);
  EXPECT_EQ(six->work.prompts, 6);
  EXPECT_NEAR(six->seconds, 39.2e-3, 1e-9);
  // One sent after the other was done is a step of its own, however short.
  const auto quick = watch.done(prompt(50.1, 50.3));
  ASSERT_TRUE(quick);
  EXPECT_EQ(quick->work.prompts, 1);
}

TEST(PrefillWatch, LeavesOutWhatMayHaveWaited) {
  PrefillWatch watch;
  auto unsure = prompt(0, 10);
  unsure.is_sure = false;
  EXPECT_FALSE(watch.done(unsure));
  EXPECT_FALSE(watch.done(prompt(1, 20)));
  EXPECT_FALSE(watch.done(prompt(30, 40)));
  EXPECT_NEAR(watch.done(prompt(50, 60))->seconds, 10e-3, 1e-9);
}

TEST(PrefillWatch, StartsAnewForAnotherPod) {
  PrefillWatch watch;
  EXPECT_FALSE(watch.done(prompt(0, 10)));
  watch.reset();
  EXPECT_FALSE(watch.done(prompt(5, 20)));
  const auto only = watch.done(prompt(30, 40));
  ASSERT_TRUE(only);
  EXPECT_EQ(only->work.prompts, 1);
  EXPECT_NEAR(only->seconds, 15e-3, 1e-9);
}

TEST(PrefillWatch, KeepsTheShareOfTimeThatPromptsTook) {
  PrefillWatch watch;
  EXPECT_EQ(watch.share(at(0)), 0.0);
  // Half of each second for a minute.
  for (int second = 0; second < 60; ++second) {
    (void)watch.done(prompt(second * 1000.0, second * 1000.0 + 500));
  }
  EXPECT_NEAR(watch.share(at(60'000)), 0.5, 0.06);
  EXPECT_LT(watch.share(at(120'000)), 0.05);
  EXPECT_EQ(watch.last_done(), at(59'500));
  watch.reset();
  EXPECT_EQ(watch.share(at(60'000)), 0.0);
  EXPECT_EQ(watch.last_done(), TimePoint{});
}

TEST(PrefillWatch, AClockThatJumpsBackHarmsNothing) {
  PrefillWatch watch;
  (void)watch.done(prompt(50'000, 51'000));
  (void)watch.done(prompt(10, 20));
  (void)watch.done(prompt(30, 40));
  const double share = watch.share(at(0));
  EXPECT_GE(share, 0.0);
  EXPECT_LE(share, 1.0);
}

}  // namespace
}  // namespace baton
