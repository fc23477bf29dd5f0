#include "core/engine_model/timing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::engine_model {
namespace {

PrefillWork tokens(std::int64_t cached, std::int64_t uncached) {
  PrefillWork work;
  work.add(Tokens(cached), Tokens(uncached));
  return work;
}

LatencyProfile profile(std::string_view text) {
  const auto parsed = parse_latency_profile(text);
  EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
  return parsed.value_or(LatencyProfile());
}

TEST(LatencyProfile, InstantTakesNoTime) {
  const LatencyProfile instant = profile("instant");
  EXPECT_EQ(instant.step(tokens(0, 8192), {64, Tokens(100000), 0.9}), Duration::zero());
  EXPECT_EQ(instant.transfer(Bytes(1 << 30)), Duration::zero());
}

TEST(LatencyProfile, DynamosPolynomialsAreItsOwn) {
  const LatencyProfile dynamo = profile("dynamo-polynomial");
  // 4.209989e-07 · 1024² + 1.518344e-02 · 1024 + 16.50142
  EXPECT_NEAR(to_ms(dynamo.prefill(tokens(0, 1024))), 32.4908, 1e-3);
  EXPECT_EQ(dynamo.prefill(tokens(5000, 1024)), dynamo.prefill(tokens(0, 1024)));
  EXPECT_NEAR(to_ms(dynamo.decode({1, Tokens(10), 0.5})), -25.74 * 0.25 + 54.01 * 0.5 + 5.74, 1e-3);
}

TEST(LatencyProfile, H100MatchesItsRoofline) {
  const LatencyProfile h100 = profile("h100-8b");
  EXPECT_NEAR(to_ms(h100.prefill(tokens(0, 1024))), 35, 2);
  EXPECT_NEAR(to_ms(h100.prefill(tokens(0, 8192))), 304, 16);
  EXPECT_NEAR(to_ms(h100.decode({1, Tokens(1024), 0})), 8.5, 0.2);
  EXPECT_NEAR(to_ms(h100.decode({64, Tokens(64 * 4096), 0})), 22, 1);
}

TEST(LatencyProfile, CachedTokensCostOnlyTheirAttention) {
  const LatencyProfile h100 = profile("h100-8b");
  EXPECT_LT(h100.prefill(tokens(4096, 100)), h100.prefill(tokens(0, 4196)));
  EXPECT_GT(h100.prefill(tokens(4096, 100)), h100.prefill(tokens(0, 100)));
  EXPECT_EQ(h100.prefill(tokens(4096, 0)), Duration::zero());
}

TEST(LatencyProfile, AFactorMakesAllSlower) {
  const LatencyProfile once = profile("h100-8b");
  const LatencyProfile twice = profile("h100-8b*2");
  EXPECT_NEAR(to_ms(twice.prefill(tokens(0, 500))), 2 * to_ms(once.prefill(tokens(0, 500))), 1e-3);
  EXPECT_NEAR(to_ms(twice.transfer(Bytes(1 << 20))), 2 * to_ms(once.transfer(Bytes(1 << 20))),
              1e-3);
}

TEST(LatencyProfile, SettingsChangeTheProfileBeforeThem) {
  const LatencyProfile custom = profile("prefill_ms=5,step_ms=2");
  EXPECT_NEAR(to_ms(custom.prefill(tokens(0, 1000))), 5, 1e-6);
  EXPECT_NEAR(to_ms(custom.decode({3, Tokens(30), 0})), 2, 1e-6);
  EXPECT_EQ(custom.transfer(Bytes(1000)), Duration::zero());
  EXPECT_GT(profile("h100-8b,step_ms=2").transfer(Bytes(1000)), Duration::zero());
}

TEST(LatencyProfile, WhatIsNotKnownIsRefusedWithWhatIs) {
  for (const char* wrong : {"", "h200", "h100-8b*", "h100-8b*-1", "h100-8b*nan", "step_ms=x",
                            "steps=1", "h100-8b,", "instant,h100-8b"}) {
    const auto parsed = parse_latency_profile(wrong);
    ASSERT_FALSE(parsed.has_value()) << wrong;
    EXPECT_THAT(parsed.error().message, testing::HasSubstr("instant, h100-8b")) << wrong;
  }
}

}  // namespace
}  // namespace baton::engine_model
