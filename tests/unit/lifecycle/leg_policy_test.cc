#include "orchestrator/lifecycle/leg_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace baton::orchestrator {
namespace {

using adapters::Dispatch;
using adapters::LegAction;
using Kind = LegActionKind;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr TimePoint kNow{std::chrono::seconds(100)};

LegStep step(Kind kind, PlanScope scope = PlanScope::kAfresh) { return {kind, scope}; }
LegStep plan(PlanScope scope) { return {Kind::kPlan, scope}; }

LegFailure failure(Stage stage, LegAction advice) {
  return {{ErrorCode::kUnavailable, stage, "gone", advice != LegAction::kFail}, advice, false};
}
LegFailure prefill_lost() { return failure(Stage::kPrefill, LegAction::kRetryPrefill); }
LegFailure decode_lost() { return failure(Stage::kDecode, LegAction::kRetryDecode); }
LegFailure handoff_lost() { return failure(Stage::kHandoff, LegAction::kRetryPair); }
LegFailure clients_fault(Stage stage) {
  return {{ErrorCode::kInvalidArgument, stage, "bad temperature"}, LegAction::kFail, true};
}
Error no_pod(Stage stage) { return {ErrorCode::kUnavailable, stage, "no pod", true}; }

class LegPolicyTest : public testing::Test {
 protected:
  RetryBudget budget{0.2};
  LegPolicy concurrent{Dispatch::kConcurrent, budget};
  LegPolicy sequential{Dispatch::kSequential, budget};

  void run_split(LegPolicy& policy) {
    (void)policy.start(kNow);
    (void)policy.planned(PlanKind::kSplit);
  }
};

TEST_F(LegPolicyTest, ConcurrentLegsGoOutTogetherAndAreRelayedOnceBothAreGood) {
  EXPECT_THAT(concurrent.start(kNow), ElementsAre(plan(PlanScope::kAfresh)));
  EXPECT_THAT(
      concurrent.planned(PlanKind::kSplit),
      ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendPrefill), step(Kind::kSendDecode)));
  EXPECT_THAT(concurrent.prefill_good(kNow), IsEmpty());
  EXPECT_THAT(concurrent.decode_good(), ElementsAre(step(Kind::kRelay)));
  EXPECT_THAT(concurrent.stream_ended(), ElementsAre(step(Kind::kEnd)));
  EXPECT_TRUE(concurrent.ended());
  EXPECT_EQ(concurrent.attempts(), 1);
}

TEST_F(LegPolicyTest, NothingIsRelayedBeforeThePrefillLegIsGood) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.decode_good(), IsEmpty());
  EXPECT_THAT(concurrent.prefill_good(kNow), ElementsAre(step(Kind::kRelay)));
}

TEST_F(LegPolicyTest, SequentialDecodeGoesOutAfterPrefill) {
  (void)sequential.start(kNow);
  EXPECT_THAT(sequential.planned(PlanKind::kSplit),
              ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendPrefill)));
  EXPECT_THAT(sequential.prefill_good(kNow), ElementsAre(step(Kind::kSendDecode)));
  EXPECT_THAT(sequential.decode_good(), ElementsAre(step(Kind::kRelay)));
}

TEST_F(LegPolicyTest, DecodeOnlyHasOneLeg) {
  for (LegPolicy* policy : {&concurrent, &sequential}) {
    (void)policy->start(kNow);
    EXPECT_THAT(policy->planned(PlanKind::kDecodeOnly),
                ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendDecode)));
    EXPECT_THAT(policy->decode_good(), ElementsAre(step(Kind::kRelay)));
  }
}

// "prefill pod refuses, times out or dies: another prefill pod; the decode leg is cancelled"
TEST_F(LegPolicyTest, FailedPrefillGoesToAnotherPodWithANewHandoff) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kExcludePrefill), step(Kind::kCancelDecode),
                          plan(PlanScope::kAfresh)));
  EXPECT_THAT(
      concurrent.planned(PlanKind::kSplit),
      ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendPrefill), step(Kind::kSendDecode)));
  EXPECT_EQ(concurrent.attempts(), 2);
}

TEST_F(LegPolicyTest, FailedPrefillAfterAGoodDecodeHeadIsTriedAgainToo) {
  run_split(concurrent);
  (void)concurrent.decode_good();
  EXPECT_THAT(concurrent.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kExcludePrefill), step(Kind::kCancelDecode),
                          plan(PlanScope::kAfresh)));
}

TEST_F(LegPolicyTest, FailedPrefillOfASequentialProtocolHasNoDecodeLegToCancel) {
  run_split(sequential);
  EXPECT_THAT(sequential.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kExcludePrefill), plan(PlanScope::kAfresh)));
}

// "else prefill on the decode pod"
TEST_F(LegPolicyTest, WithoutAnotherPrefillPodTheDecodePodPrefills) {
  run_split(concurrent);
  (void)concurrent.prefill_failed(prefill_lost(), kNow);
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kPrefill)),
              ElementsAre(plan(PlanScope::kDecodeOnly)));
  EXPECT_THAT(concurrent.planned(PlanKind::kDecodeOnly),
              ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendDecode)));
  EXPECT_THAT(concurrent.decode_good(), ElementsAre(step(Kind::kRelay)));
}

// "else 503 naming the stage"
TEST_F(LegPolicyTest, WithoutAnyPodTheErrorNamesTheStageThatFailed) {
  run_split(concurrent);
  (void)concurrent.prefill_failed(prefill_lost(), kNow);
  (void)concurrent.no_plan(no_pod(Stage::kPrefill));
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)), ElementsAre(plan(PlanScope::kAnyPod)))
      << "the pod that failed may not do so again";
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)), ElementsAre(step(Kind::kAnswerError)));
  EXPECT_EQ(concurrent.error().stage, Stage::kPrefill);
  EXPECT_TRUE(concurrent.ended());
}

// "hand-off fails or the lease ran out: retry the pair once"
TEST_F(LegPolicyTest, FailedHandoffRetriesThePairOnceThenDecodesAlone) {
  run_split(concurrent);
  (void)concurrent.prefill_good(kNow);
  EXPECT_THAT(
      concurrent.decode_failed(handoff_lost(), kNow),
      ElementsAre(step(Kind::kExcludePrefill), step(Kind::kReleaseBlocks), plan(PlanScope::kPair)));
  (void)concurrent.planned(PlanKind::kSplit);
  (void)concurrent.prefill_good(kNow);
  EXPECT_THAT(concurrent.decode_failed(handoff_lost(), kNow),
              ElementsAre(step(Kind::kExcludePrefill), step(Kind::kReleaseBlocks),
                          plan(PlanScope::kDecodeOnly)));
}

TEST_F(LegPolicyTest, FailedHandoffWithoutAnotherPodRetriesTheSamePair) {
  run_split(concurrent);
  (void)concurrent.prefill_good(kNow);
  (void)concurrent.decode_failed(handoff_lost(), kNow);
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kPrefill)), ElementsAre(plan(PlanScope::kAnyPod)));
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kPrefill)), ElementsAre(step(Kind::kAnswerError)));
  EXPECT_EQ(concurrent.error().stage, Stage::kHandoff);
}

TEST_F(LegPolicyTest, FailedHandoffWaitsForThePrefillLegsOwnWord) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.decode_failed(handoff_lost(), kNow),
              ElementsAre(step(Kind::kAwaitPrefill)));
  EXPECT_THAT(concurrent.prefill_failed(clients_fault(Stage::kPrefill), kNow),
              ElementsAre(step(Kind::kAnswerPodsError)));
}

TEST_F(LegPolicyTest, ADeadPrefillPodCostsOneRetryThoughBothLegsFail) {
  run_split(concurrent);
  (void)concurrent.decode_failed(handoff_lost(), kNow);
  EXPECT_THAT(concurrent.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kExcludePrefill), plan(PlanScope::kAfresh)));
  EXPECT_EQ(concurrent.attempts(), 2);
}

TEST_F(LegPolicyTest, FailedHandoffIsRetriedWhenPrefillEndsWellOrSaysNothing) {
  LegPolicy silent(Dispatch::kConcurrent, budget);
  run_split(silent);
  (void)silent.decode_failed(handoff_lost(), kNow);
  EXPECT_THAT(silent.wait_over(kNow),
              ElementsAre(step(Kind::kExcludePrefill), step(Kind::kCancelPrefill),
                          step(Kind::kReleaseBlocks), plan(PlanScope::kPair)));
  run_split(concurrent);
  (void)concurrent.decode_failed(handoff_lost(), kNow);
  EXPECT_THAT(
      concurrent.prefill_good(kNow),
      ElementsAre(step(Kind::kExcludePrefill), step(Kind::kReleaseBlocks), plan(PlanScope::kPair)));
}

// "decode pod fails before the first token: another decode pod, from the same lease if it still
// stands, else the pair again"
TEST_F(LegPolicyTest, FailedDecodeGoesToAnotherPodFromTheSameHandoff) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.decode_failed(decode_lost(), kNow),
              ElementsAre(step(Kind::kExcludeDecode), plan(PlanScope::kSamePrefill)));
  EXPECT_THAT(concurrent.planned(PlanKind::kSplit), ElementsAre(step(Kind::kSendDecode)));
  EXPECT_THAT(concurrent.prefill_good(kNow), IsEmpty());
  EXPECT_THAT(concurrent.decode_good(), ElementsAre(step(Kind::kRelay)));
}

TEST_F(LegPolicyTest, FailedDecodeOfASequentialProtocolReusesThePrefillAnswer) {
  run_split(sequential);
  (void)sequential.prefill_good(kNow);
  EXPECT_THAT(sequential.decode_failed(decode_lost(), kNow),
              ElementsAre(step(Kind::kExcludeDecode), plan(PlanScope::kSamePrefill)));
  EXPECT_THAT(sequential.planned(PlanKind::kSplit), ElementsAre(step(Kind::kSendDecode)));
  EXPECT_THAT(sequential.decode_good(), ElementsAre(step(Kind::kRelay)));
}

TEST_F(LegPolicyTest, WithoutAnotherDecodePodThePairIsTriedAgain) {
  run_split(concurrent);
  (void)concurrent.prefill_good(kNow);
  (void)concurrent.decode_failed(decode_lost(), kNow);
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)),
              ElementsAre(step(Kind::kReleaseBlocks), plan(PlanScope::kAfresh)));
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)), ElementsAre(plan(PlanScope::kAnyPod)));
  EXPECT_THAT(
      concurrent.planned(PlanKind::kSplit),
      ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendPrefill), step(Kind::kSendDecode)));
}

TEST_F(LegPolicyTest, FailedDecodeOnlyIsPlannedAfresh) {
  (void)concurrent.start(kNow);
  (void)concurrent.planned(PlanKind::kDecodeOnly);
  EXPECT_THAT(concurrent.decode_failed(decode_lost(), kNow),
              ElementsAre(step(Kind::kExcludeDecode), plan(PlanScope::kAfresh)));
  EXPECT_THAT(
      concurrent.planned(PlanKind::kSplit),
      ElementsAre(step(Kind::kNewHandoff), step(Kind::kSendPrefill), step(Kind::kSendDecode)));
}

// "decode pod fails in the stream: the stream ends with an error event"
TEST_F(LegPolicyTest, NothingIsRetriedAfterTheRelayBegan) {
  run_split(concurrent);
  (void)concurrent.prefill_good(kNow);
  (void)concurrent.decode_good();
  EXPECT_THAT(concurrent.stream_failed({ErrorCode::kUpstream, Stage::kDecode, "cut"}),
              ElementsAre(step(Kind::kEndWithErrorEvent)));
  EXPECT_TRUE(concurrent.ended());
  EXPECT_EQ(concurrent.attempts(), 1);
}

// "no pod at all: wait up to empty_wait, then 503"
TEST_F(LegPolicyTest, WithoutPodsTheRequestWaitsForOne) {
  (void)concurrent.start(kNow);
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)), ElementsAre(step(Kind::kWaitForPods)));
  EXPECT_THAT(concurrent.pods_changed(), ElementsAre(plan(PlanScope::kAfresh)));
  EXPECT_THAT(concurrent.no_plan(no_pod(Stage::kDecode)), ElementsAre(step(Kind::kWaitForPods)));
  EXPECT_THAT(concurrent.wait_over(kNow), ElementsAre(step(Kind::kAnswerError)));
  EXPECT_EQ(concurrent.error().stage, Stage::kDecode);
}

TEST_F(LegPolicyTest, NewPodsDoNotDisturbARunningRequest) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.pods_changed(), IsEmpty());
  EXPECT_THAT(concurrent.wait_over(kNow), IsEmpty());
}

TEST_F(LegPolicyTest, AClientsOwnErrorIsPassedOnAndTheOtherLegDropped) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.decode_failed(clients_fault(Stage::kDecode), kNow),
              ElementsAre(step(Kind::kCancelPrefill), step(Kind::kReleaseBlocks),
                          step(Kind::kAnswerPodsError)));
  LegPolicy other(Dispatch::kConcurrent, budget);
  run_split(other);
  EXPECT_THAT(other.prefill_failed(clients_fault(Stage::kPrefill), kNow),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kAnswerPodsError)));
}

TEST_F(LegPolicyTest, WhatThePodCallsFinalIsNotRetried) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.prefill_failed(failure(Stage::kPrefill, LegAction::kFail), kNow),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kAnswerError)));
  EXPECT_FALSE(concurrent.retry_refused());
}

TEST_F(LegPolicyTest, AClientThatLeavesStopsBothLegsAndFreesTheBlocks) {
  run_split(concurrent);
  EXPECT_THAT(concurrent.client_left(),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kCancelPrefill),
                          step(Kind::kReleaseBlocks), step(Kind::kEnd)));
  EXPECT_THAT(concurrent.client_left(), IsEmpty());

  LegPolicy sealed(Dispatch::kConcurrent, budget);
  run_split(sealed);
  (void)sealed.prefill_good(kNow);
  EXPECT_THAT(sealed.client_left(),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kReleaseBlocks), step(Kind::kEnd)));

  LegPolicy waiting(Dispatch::kConcurrent, budget);
  (void)waiting.start(kNow);
  (void)waiting.no_plan(no_pod(Stage::kPrefill));
  EXPECT_THAT(waiting.client_left(), ElementsAre(step(Kind::kEnd)));

  LegPolicy relaying(Dispatch::kConcurrent, budget);
  run_split(relaying);
  (void)relaying.prefill_good(kNow);
  (void)relaying.decode_good();
  EXPECT_THAT(relaying.client_left(), ElementsAre(step(Kind::kCancelDecode), step(Kind::kEnd)));
}

TEST_F(LegPolicyTest, AttemptsAreLimited) {
  run_split(concurrent);
  for (int attempt = 1; attempt < LegPolicy::kMaxAttempts; ++attempt) {
    (void)concurrent.prefill_failed(prefill_lost(), kNow);
    (void)concurrent.planned(PlanKind::kSplit);
  }
  EXPECT_THAT(concurrent.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kAnswerError)));
  EXPECT_TRUE(concurrent.retry_refused());
  EXPECT_EQ(concurrent.attempts(), LegPolicy::kMaxAttempts);
}

TEST_F(LegPolicyTest, AnEmptyBudgetRefusesTheRetry) {
  run_split(concurrent);
  while (budget.take(kNow)) {
  }
  EXPECT_THAT(concurrent.prefill_failed(prefill_lost(), kNow),
              ElementsAre(step(Kind::kCancelDecode), step(Kind::kAnswerError)));
  EXPECT_TRUE(concurrent.retry_refused());
}

// Carries steps out against a model of the world and checks the promises after each one.
class World {
 public:
  explicit World(std::uint64_t seed)
      : rng_(seed), dispatch_(coin() ? Dispatch::kConcurrent : Dispatch::kSequential) {}

  void run() {
    RetryBudget budget(0.2);
    LegPolicy policy(dispatch_, budget);
    carry_out(policy.start(kNow), policy);
    for (int observations = 0; !ended_; ++observations) {
      ASSERT_LT(observations, 200) << "does not end";
      observe(policy);
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(policy.ended());
    EXPECT_FALSE(prefill_running_) << "a prefill leg outlives its request";
    EXPECT_FALSE(decode_running_ && !relayed_) << "a decode leg outlives its request";
    EXPECT_FALSE(blocks_held_ && !relayed_) << "blocks were not given back";
    EXPECT_LE(policy.attempts(), LegPolicy::kMaxAttempts);
  }

 private:
  bool coin() { return rng_() % 2 == 0; }

  void observe(LegPolicy& policy) {
    if (rng_() % 40 == 0) return carry_out(policy.client_left(), policy);
    if (relayed_) {
      return coin() ? carry_out(policy.stream_ended(), policy)
                    : carry_out(policy.stream_failed({}), policy);
    }
    if (rng_() % 8 == 0) return carry_out(policy.pods_changed(), policy);
    if (waiting_ && rng_() % 4 == 0) {
      waiting_ = false;
      return carry_out(policy.wait_over(kNow), policy);
    }
    if (prefill_running_ && coin()) {
      prefill_running_ = false;
      if (!decode_running_ && dispatch_ == Dispatch::kSequential && rng_() % 8 == 0) {
        return carry_out(policy.prefill_was_all(), policy);
      }
      if (coin()) {
        prefill_good_ = blocks_held_ = true;
        const bool refused = rng_() % 4 == 0;
        return carry_out(refused ? policy.handoff_refused(handoff_lost().error, kNow)
                                 : policy.prefill_good(kNow),
                         policy);
      }
      return carry_out(policy.prefill_failed(any_failure(Stage::kPrefill), kNow), policy);
    }
    if (decode_running_ && !decode_good_ && coin()) {
      if (coin()) {
        decode_good_ = true;
        return carry_out(policy.decode_good(), policy);
      }
      decode_running_ = false;
      return carry_out(policy.decode_failed(any_failure(Stage::kDecode), kNow), policy);
    }
  }

  LegFailure any_failure(Stage leg) {
    switch (rng_() % 6) {
      case 0: return clients_fault(leg);
      case 1: return failure(leg, LegAction::kFail);
      case 2: return leg == Stage::kDecode ? handoff_lost() : prefill_lost();
      default: return leg == Stage::kDecode ? decode_lost() : prefill_lost();
    }
  }

  void carry_out(const LegSteps& steps, LegPolicy& policy) {
    for (const LegStep& now : steps) {
      ASSERT_FALSE(ended_) << "a step after the end";
      switch (now.kind) {
        case Kind::kPlan:
          EXPECT_FALSE(decode_running_);
          EXPECT_EQ(&now, &steps.back()) << "planning is a turn's last step";
          if (rng_() % 4 == 0) return carry_out(policy.no_plan(no_pod(Stage::kDecode)), policy);
          split_ = now.scope == PlanScope::kSamePrefill || now.scope == PlanScope::kPair ||
                   (now.scope != PlanScope::kDecodeOnly && rng_() % 4 != 0);
          return carry_out(policy.planned(split_ ? PlanKind::kSplit : PlanKind::kDecodeOnly),
                           policy);
        case Kind::kNewHandoff:
          EXPECT_FALSE(prefill_running_ || blocks_held_);
          prefill_good_ = false;
          break;
        case Kind::kSendPrefill:
          EXPECT_FALSE(prefill_running_);
          prefill_running_ = true;
          break;
        case Kind::kSendDecode:
          EXPECT_FALSE(decode_running_);
          EXPECT_TRUE(!split_ || dispatch_ == Dispatch::kConcurrent || prefill_good_);
          decode_running_ = true;
          decode_good_ = false;
          break;
        case Kind::kCancelPrefill:
          EXPECT_TRUE(prefill_running_);
          prefill_running_ = false;
          blocks_held_ = true;  // it may have sealed just then
          break;
        case Kind::kCancelDecode:
          EXPECT_TRUE(decode_running_);
          decode_running_ = decode_good_ = false;
          break;
        case Kind::kReleaseBlocks:
          EXPECT_TRUE(blocks_held_);
          blocks_held_ = prefill_good_ = false;
          break;
        case Kind::kWaitForPods:
        case Kind::kAwaitPrefill: waiting_ = true; break;
        case Kind::kExcludePrefill:
        case Kind::kExcludeDecode: break;
        case Kind::kRelay:
          EXPECT_FALSE(relayed_);
          EXPECT_TRUE(decode_good_ && (!split_ || prefill_good_));
          relayed_ = true;
          break;
        case Kind::kAnswerWhole:
          EXPECT_FALSE(relayed_ || decode_running_ || blocks_held_);
          relayed_ = true;
          break;
        case Kind::kAnswerPodsError:
        case Kind::kAnswerError:
          EXPECT_FALSE(relayed_);
          ended_ = true;
          break;
        case Kind::kEndWithErrorEvent:
          EXPECT_TRUE(relayed_);
          ended_ = true;
          break;
        case Kind::kEnd: ended_ = true; break;
      }
    }
  }

  std::mt19937_64 rng_;
  Dispatch dispatch_;
  bool split_ = false;
  bool prefill_running_ = false;
  bool prefill_good_ = false;
  bool decode_running_ = false;
  bool decode_good_ = false;
  bool blocks_held_ = false;
  bool waiting_ = false;
  bool relayed_ = false;
  bool ended_ = false;
};

TEST(LegPolicySimulation, EveryRequestEndsOnceAndLeavesNothingBehind) {
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    World(seed).run();
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace baton::orchestrator
