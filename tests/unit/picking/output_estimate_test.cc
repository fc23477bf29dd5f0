#include "core/picking/output_estimate.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(OutputEstimate, BeginsWithAGuessAndFollowsAnswers) {
  OutputEstimate outputs;
  EXPECT_EQ(outputs.expected(), Tokens(128));
  for (int i = 0; i < 20; ++i) outputs.observe(1000);
  EXPECT_NEAR(static_cast<double>(outputs.expected().count()), 1000, 100);
  for (int i = 0; i < 3000; ++i) outputs.observe(i % 2 == 0 ? 10 : 30);
  EXPECT_NEAR(static_cast<double>(outputs.expected().count()), 20, 6);
}

TEST(OutputEstimate, TakesNoNegativeAnswer) {
  OutputEstimate outputs;
  outputs.observe(-5);
  EXPECT_EQ(outputs.expected(), Tokens(128));
}

}  // namespace
}  // namespace baton
