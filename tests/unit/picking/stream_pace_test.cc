#include "core/picking/stream_pace.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

constexpr TimePoint kPaceStart = TimePoint{} + std::chrono::hours(1);

class StreamPaceTest : public testing::Test {
 protected:
  LatencyModel model_;
  StreamMark first_{kPaceStart, 4, 4000, {}};
  StreamMark last_{kPaceStart + std::chrono::seconds(1), 8, 10'000, {}};
};

TEST_F(StreamPaceTest, IsTheTimeBetweenTokensWithWhatThePodHeld) {
  const auto pace = pace_of(model_, 3, first_, last_, 101);
  ASSERT_TRUE(pace);
  EXPECT_EQ(pace->pod, 3U);
  EXPECT_EQ(pace->steps, 100);
  EXPECT_NEAR(pace->seconds, 10e-3, 1e-9);
  EXPECT_EQ(pace->batch, 6);
  EXPECT_EQ(pace->kv_tokens, 7000);
}

TEST_F(StreamPaceTest, LeavesOutThePromptsComputedBeside) {
  first_.computed = {0, 10'000, 5e6};
  last_.computed = {0, 12'000, 9e6};
  const double beside = model_.prefill_seconds(3, PromptWork{0, 2000, 4e6});
  ASSERT_GT(beside, 0.1);
  EXPECT_NEAR(pace_of(model_, 3, first_, last_, 101)->seconds, (1.0 - beside) / 100, 1e-9);
  // Next to nothing is left to tell of.
  last_.computed.uncached_tokens = 10'000 + 9000;
  EXPECT_FALSE(pace_of(model_, 3, first_, last_, 101));
}

TEST_F(StreamPaceTest, SaysNothingOfShortAnswers) {
  EXPECT_FALSE(pace_of(model_, 3, first_, last_, 7));
  EXPECT_TRUE(pace_of(model_, 3, first_, last_, 8));
}

TEST_F(StreamPaceTest, MarksWhatThePodHasNow) {
  LoadTable loads;
  PodLoad& load = loads.of(3);
  LoadTicket prompt = LoadTicket::for_decode_only(load, Tokens(100), Tokens(300), Tokens(50));
  prompt.prefill_done();
  const LoadTicket stream = LoadTicket::for_decode(load, Tokens(500));
  const StreamMark mark = StreamMark::of(load, kPaceStart);
  EXPECT_EQ(mark.at, kPaceStart);
  EXPECT_EQ(mark.batch, 2);
  EXPECT_EQ(mark.kv_tokens, 800);
  EXPECT_EQ(mark.computed.prompts, 0);
  EXPECT_EQ(mark.computed.uncached_tokens, 100);
  EXPECT_EQ(mark.computed.pairs, 150 * 150 - 50 * 50);
}

}  // namespace
}  // namespace baton
