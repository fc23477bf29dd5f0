#include "orchestrator/planning/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "orchestrator/planning/explain.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

class BatchLater : public testing::Test {
 protected:
  // Streams that began, and prompts that are still computed; 100 tokens of KV each.
  void add(int begun, int coming) {
    for (int i = 0; i < begun + coming; ++i) {
      tickets_.push_back(LoadTicket::for_decode(load_, Tokens(100)));
      if (i < begun) tickets_.back().decode_begins();
    }
  }

  PodLoad load_;
  std::vector<LoadTicket> tickets_;
};

TEST_F(BatchLater, StreamsThatEndByThenAreOut) {
  add(10, 0);
  EXPECT_DOUBLE_EQ(batch_later(load_, 0.0, 2.0).streams, 10);
  EXPECT_DOUBLE_EQ(batch_later(load_, 0.5, 2.0).streams, 7.5);
  EXPECT_DOUBLE_EQ(batch_later(load_, 0.5, 2.0).kv_tokens, 750);
  EXPECT_DOUBLE_EQ(batch_later(load_, 2.0, 2.0).streams, 0);
  EXPECT_DOUBLE_EQ(batch_later(load_, 9.0, 2.0).streams, 0);
}

TEST_F(BatchLater, PromptsThatComeByThenAreInAsLongAsTheyLive) {
  add(0, 8);
  EXPECT_DOUBLE_EQ(batch_later(load_, 0.5, 2.0).streams, 8);
  EXPECT_DOUBLE_EQ(batch_later(load_, 2.0, 2.0).streams, 8);
  EXPECT_DOUBLE_EQ(batch_later(load_, 8.0, 2.0).streams, 2);  // a quarter came in the last 2 s
}

TEST_F(BatchLater, BothTogether) {
  add(10, 6);
  EXPECT_DOUBLE_EQ(batch_later(load_, 1.0, 2.0).streams, 5 + 6);
  EXPECT_DOUBLE_EQ(batch_later(load_, 1.0, 2.0).kv_tokens, 1100);
}

TEST_F(BatchLater, IsDefinedForWhatCannotBe) {
  EXPECT_EQ(batch_later(load_, 1.0, 1.0).streams, 0);
  add(3, 2);
  EXPECT_DOUBLE_EQ(batch_later(load_, -1.0, 1.0).streams, 5);
  EXPECT_LE(batch_later(load_, 1.0, 0.0).streams, 1e-5);
  EXPECT_DOUBLE_EQ(batch_later(load_, 0.0, 0.0).streams, 5);
}

// A pod whose prompts come and end as the estimate takes it: evenly, each stream living as long.
TEST_F(BatchLater, FollowsAPodInWhichStreamsComeAndGo) {
  constexpr double kLives = 4.0;
  constexpr double kEvery = 0.1;
  constexpr double kQueue = 3.0;  // seconds of prompts that are committed and not computed
  for (const double when : {0.0, 1.0, 2.5, 3.0}) {
    std::vector<LoadTicket> tickets;
    int then = 0;
    for (double begins = -kLives + kEvery / 2; begins < when; begins += kEvery) {
      tickets.push_back(LoadTicket::for_decode(load_, Tokens(100)));
      if (begins < 0) tickets.back().decode_begins();
      then += begins + kLives > when ? 1 : 0;
    }
    EXPECT_NEAR(batch_later(load_, when, kLives).streams, then, 1) << when;
    ASSERT_LE(when, kQueue);
  }
}

class JudgeTest : public testing::Test {
 protected:
  JudgeTest() {
    request_.prompt = Tokens(1000);
    request_.expected_output = Tokens(100);
  }
  SloVerdict judge_now() {
    return judge(request_, start_, pool_.load(*pod_), pool_.model, pool_.now);
  }
  void add_streams(int count, bool began) {
    for (int i = 0; i < count; ++i) {
      tickets_.push_back(LoadTicket::for_decode(pool_.load(*pod_), Tokens(2000)));
      if (began) tickets_.back().decode_begins();
    }
  }

  TestPool pool_;
  PodEntry* pod_ = &pool_.add("d0", Role::kDecode);
  PlanRequest request_;
  PredictedStart start_{pod_->index, 0.5, 0.01, 0.3};
  std::vector<LoadTicket> tickets_;
};

TEST_F(JudgeTest, WithoutAnSloNothingIsMissed) {
  add_streams(1000, true);
  const SloVerdict verdict = judge_now();
  EXPECT_FALSE(verdict.misses());
  EXPECT_DOUBLE_EQ(verdict.ttft_seconds, 0.5);
  EXPECT_GT(verdict.tpot_seconds, 0.0);
  EXPECT_EQ(verdict.retry_seconds, 0);
}

TEST_F(JudgeTest, TtftIsMissedByWhatIsBeyondItAndByWhatHadPassed) {
  request_.slo.ttft = milliseconds(400);
  EXPECT_NEAR(judge_now().ttft_over_seconds, 0.1, 1e-9);
  EXPECT_NEAR(judge_now().retry_seconds, 0.1, 1e-9);
  EXPECT_EQ(judge_now().tpot_over_seconds, 0);
  request_.waited = milliseconds(2000);
  EXPECT_NEAR(judge_now().ttft_over_seconds, 2.1, 1e-9);
  EXPECT_NEAR(judge_now().retry_seconds, 0.1, 1e-9);  // one that comes then has not waited
  request_.slo.ttft = milliseconds(600);
  EXPECT_NEAR(judge_now().ttft_over_seconds, 1.9, 1e-9);
  request_.waited = {};
  EXPECT_FALSE(judge_now().misses());
}

TEST_F(JudgeTest, APromptThatIsTooLongForItsSloIsSoLater) {
  request_.slo.ttft = milliseconds(100);  // 0.2 s are its own
  EXPECT_EQ(retry_after_seconds(judge_now()), 60);
}

TEST_F(JudgeTest, TpotCountsTheBatchOfTheTimeWhenThePromptIsComputed) {
  add_streams(200, true);
  const double many = judge_now().tpot_seconds;
  start_.ttft_seconds = 60;  // by then they have ended
  const double none = judge_now().tpot_seconds;
  EXPECT_NEAR(none, pool_.model.step_seconds(pod_->index, 1, 1000), 1e-12);
  EXPECT_GT(many, 1.5 * none);
  start_.ttft_seconds = 0.5;
  tickets_.clear();
  add_streams(200, false);  // these come meanwhile, and stay
  EXPECT_GT(judge_now().tpot_seconds, many);

  request_.slo.tpot = std::chrono::duration_cast<Duration>(Seconds(none));
  EXPECT_GT(judge_now().tpot_over_seconds, 0);
  EXPECT_GT(judge_now().retry_seconds, 0);
  request_.expected_output = Tokens(1);  // has no token after the first
  EXPECT_FALSE(judge_now().misses());
}

TEST_F(JudgeTest, RefusesWhatMissesWhereThePoolDoes) {
  request_.slo.ttft = milliseconds(400);
  EXPECT_FALSE(judge_now().is_refused);
  request_.slo.admission = Admission::kRefuse;
  EXPECT_TRUE(judge_now().is_refused);
  const Error error = refusal(request_.slo, judge_now());
  EXPECT_EQ(error.code, ErrorCode::kRateLimited);
  EXPECT_THAT(error.message, HasSubstr("a TTFT of 500.0 ms where 400 ms are asked for"));
  EXPECT_THAT(error.message, HasSubstr("x-slo-ttft-ms"));
  EXPECT_THAT(error.message, Not(HasSubstr("TPOT")));
  EXPECT_THAT(error.message, HasSubstr("again in 1 s"));
  request_.slo.ttft = milliseconds(500);
  EXPECT_FALSE(judge_now().is_refused);
}

// Of all loads and bounds: finite, and what is missed can be retried within a minute.
TEST_F(JudgeTest, IsFiniteWhateverThePodHas) {
  std::mt19937_64 rng(11);
  for (int i = 0; i < 2000; ++i) {
    if (rng() % 3 == 0) add_streams(static_cast<int>(rng() % 40), rng() % 2 == 0);
    if (rng() % 5 == 0) tickets_.resize(tickets_.size() / 2);
    request_.prompt = Tokens(static_cast<std::int64_t>(rng() % 1'000'000));
    request_.expected_output = Tokens(static_cast<std::int64_t>(rng() % 5000));
    start_.ttft_seconds = static_cast<double>(rng() % 100'000) / 1e3;
    start_.first_step_seconds = static_cast<double>(rng() % 100) / 1e3;
    start_.waiting_seconds = static_cast<double>(rng() % 1000) / 1e2;
    request_.slo.ttft = milliseconds(1 + rng() % 50'000);
    request_.slo.tpot = milliseconds(1 + rng() % 50);
    const SloVerdict verdict = judge_now();
    ASSERT_TRUE(std::isfinite(verdict.ttft_seconds) && std::isfinite(verdict.tpot_seconds));
    ASSERT_GE(verdict.tpot_seconds, 0);
    ASSERT_GE(verdict.retry_seconds, 0);
    ASSERT_GE(retry_after_seconds(verdict), 1);
    ASSERT_LE(retry_after_seconds(verdict), 60);
    ASSERT_TRUE(verdict.misses() || verdict.retry_seconds == 0);
  }
}

class AdmissionPlan : public testing::Test {
 protected:
  AdmissionPlan() {
    request_.blocks = prompt_of(2048);
    request_.prompt = Tokens(2048);
    request_.split = Split::kAlways;
  }
  Plan plan() {
    auto plan = planner_.plan(request_, pool_.snapshot, pool_.now, 1);
    EXPECT_TRUE(plan) << plan.error().message;
    return std::move(*plan);
  }

  TestPool pool_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
  PodEntry* p0_ = &pool_.add("p0", Role::kPrefill);
  PodEntry* d0_ = &pool_.add("d0", Role::kDecode);
  PodEntry* d1_ = &pool_.add("d1", Role::kDecode);
  PlanRequest request_;
};

TEST_F(AdmissionPlan, SaysWhatItMissesAndByHowMuch) {
  const auto busy = LoadTicket::for_prefill(pool_.load(*p0_), Tokens(20'000));
  request_.slo.ttft = milliseconds(500);
  const Plan missing = plan();
  EXPECT_GT(missing.verdict.ttft_over_seconds, 1.0);
  EXPECT_DOUBLE_EQ(missing.verdict.ttft_seconds, missing.predicted_ttft_seconds);
  EXPECT_FALSE(missing.verdict.is_refused);
  request_.slo.admission = Admission::kRefuse;
  EXPECT_TRUE(plan().verdict.is_refused);
  const auto shown = nlohmann::json::parse(explain_json(plan())).at("verdict");
  EXPECT_EQ(shown.at("refused"), true);
  EXPECT_GT(shown.at("ttft_over_ms"), 1000.0);
  EXPECT_EQ(shown.at("tpot_over_ms"), 0.0);
  EXPECT_GE(shown.at("retry_after_s"), 2);
  EXPECT_LE(shown.at("retry_after_s"), 4);
  request_.slo.ttft = std::chrono::seconds(10);
  EXPECT_FALSE(plan().verdict.misses());
}

// Streams of d0 are slow; d1 has prompts to compute first.
TEST_F(AdmissionPlan, WhereMissesAreRefusedWhatKeepsTheSloGoesFirst) {
  std::vector<LoadTicket> streams;
  for (int i = 0; i < 40; ++i) {
    streams.push_back(LoadTicket::for_decode(pool_.load(*d0_), Tokens(2000)));
  }
  const auto prompts = LoadTicket::for_prefill(pool_.load(*d1_), Tokens(30'000));
  request_.slo.tpot = milliseconds(10);
  const Plan cheap = plan();
  EXPECT_EQ(cheap.decode->pod.name, "d0");
  EXPECT_GT(cheap.verdict.tpot_over_seconds, 0);
  request_.slo.admission = Admission::kRefuse;
  request_.explain = true;
  const Plan kept = plan();
  EXPECT_EQ(kept.decode->pod.name, "d1");
  EXPECT_FALSE(kept.verdict.misses());
  ASSERT_FALSE(kept.alternatives.empty());
  EXPECT_EQ(kept.alternatives.front().ruled_out_by, "it is predicted to miss the SLO");
}

}  // namespace
}  // namespace baton::orchestrator
