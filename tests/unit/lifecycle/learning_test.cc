// What requests show of their pods' times reaches the pool's latency model.
#include <gtest/gtest.h>

#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

class LearningTest : public ::testing::Test {
 protected:
  void serve(Router& router, int requests) {
    for (int i = 0; i < requests; ++i) {
      const auto call = router.chat();
      ASSERT_TRUE(router.finish(*call));
      ASSERT_EQ(call->status, 200U);
    }
  }
  static double seen(const Router& router, const std::string& kind) {
    return router.metric("baton_predictor_observations_total{kind=\"" + kind + "\",pool=\"chat\"}");
  }
  static double error(const Router& router, const std::string& kind) {
    return router.metric("baton_predictor_error_ratio{kind=\"" + kind + "\",pool=\"chat\"}");
  }

  const std::string long_answer_ = std::string(40, 'x');
  const LatencyModel prior_;
};

TEST_F(LearningTest, PrefillLegsAndStreamsTeachTheModel) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  decode.answer_text = long_answer_;
  router.publish();
  serve(router, 6);
  EXPECT_EQ(seen(router, "prefill"), 5) << "an interval is known when the next is over";
  EXPECT_EQ(seen(router, "step"), 6);
  EXPECT_GT(error(router, "prefill"), 0.0);
  EXPECT_GT(error(router, "step"), 0.0);
  // 12 of the 20 tokens were not held.
  const std::uint32_t p0 = prefill.entry()->index;
  const std::uint32_t d0 = decode.entry()->index;
  EXPECT_NE(router.latency().prefill_seconds(p0, Tokens(8), Tokens(12)),
            prior_.prefill_seconds(p0, Tokens(8), Tokens(12)));
  EXPECT_NE(router.latency().step_seconds(d0, 1, 100), prior_.step_seconds(d0, 1, 100));
  EXPECT_GT(router.load(prefill).computed_tokens, 0);
  EXPECT_EQ(router.load(decode).computed_tokens, 0);
}

TEST_F(LearningTest, APodThatDoesBothTeachesBoth) {
  PoolConfig pool = Router::default_pool();
  pool.split = Split::kNever;
  Router router(std::move(pool));
  TestPod& pod = router.add_pod("b0", Role::kBoth);
  pod.answer_text = long_answer_;
  router.publish();
  serve(router, 3);
  EXPECT_EQ(seen(router, "prefill"), 2);
  EXPECT_EQ(seen(router, "step"), 3);
  EXPECT_GT(router.load(pod).computed_tokens, 0);
}

TEST_F(LearningTest, HandOffsTeachWhatMovingTakes) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  decode.timing = R"({"exposed_transfer_ms":700,"kv_bytes":2048,"transport":"tcp"})";
  router.publish();
  serve(router, 2);
  EXPECT_EQ(seen(router, "transfer"), 2);
  EXPECT_GT(
      router.latency().transfer_seconds(prefill.entry()->index, decode.entry()->index, Bytes(2048)),
      0.1);
}

TEST_F(LearningTest, WhatSaysLittleIsLeftOut) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  decode.answer_text = "short";
  decode.timing = "";
  prefill.waiting = 3;  // sent by somebody else
  router.publish();
  serve(router, 4);
  EXPECT_EQ(seen(router, "prefill"), 0);
  EXPECT_EQ(seen(router, "step"), 0);
  EXPECT_EQ(seen(router, "transfer"), 0);
  prefill.waiting = 0;
  router.publish();
  serve(router, 2);
  EXPECT_EQ(seen(router, "prefill"), 1);
}

TEST_F(LearningTest, AFailedLegTeachesNothing) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& other = router.add_pod("p1", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  decode.will(Script::Kind::kCutStream);
  prefill.will_refuse(503, "{}");
  other.will_refuse(503, "{}");
  router.publish();
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  for (const TestPod* pod : {&prefill, &other, &decode}) {
    EXPECT_EQ(router.load(*pod).waiting_prompts, 0) << pod->name();
    EXPECT_EQ(router.load(*pod).waiting_pairs, 0) << pod->name();
  }
  EXPECT_EQ(seen(router, "step"), 0);
}

}  // namespace
}  // namespace baton::orchestrator::testing
