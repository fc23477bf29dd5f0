#include "orchestrator/lifecycle/leg_policy.h"

#include <cassert>
#include <utility>

namespace baton::orchestrator {

using adapters::Dispatch;
using adapters::LegAction;
using Kind = LegActionKind;

LegSteps LegPolicy::start(TimePoint now) {
  assert(phase_ == Phase::kNew);
  budget_.on_request(now);
  attempts_ = 1;
  LegSteps steps;
  seek(steps, PlanScope::kAfresh);
  return steps;
}

LegSteps LegPolicy::planned(PlanKind kind) {
  assert(phase_ == Phase::kPlanning);
  phase_ = Phase::kRunning;
  LegSteps steps;
  if (scope_ != PlanScope::kSamePrefill) {
    split_ = kind == PlanKind::kSplit;
    steps.push_back({Kind::kNewHandoff});
    if (split_) {
      prefill_ = Leg::kRunning;
      steps.push_back({Kind::kSendPrefill});
    }
  }
  const bool decode_now = !split_ || dispatch_ == Dispatch::kConcurrent || prefill_ == Leg::kGood;
  if (decode_now) {
    decode_ = Leg::kRunning;
    steps.push_back({Kind::kSendDecode});
  }
  return steps;
}

// The next rung of the ladder on which the failure put the request.
LegSteps LegPolicy::no_plan(Error error) {
  assert(phase_ == Phase::kPlanning);
  LegSteps steps;
  switch (ladder_) {
    case Ladder::kFirst:
      error_ = std::move(error);
      if (!error_.retryable) return give_up(Kind::kAnswerError);
      phase_ = Phase::kWaiting;
      steps.push_back({Kind::kWaitForPods});
      return steps;
    case Ladder::kPrefill:
      if (scope_ == PlanScope::kAfresh) {
        seek(steps, PlanScope::kDecodeOnly);
        return steps;
      }
      if (scope_ == PlanScope::kDecodeOnly) {  // the pod that failed may not do so again
        seek(steps, PlanScope::kAnyPod);
        return steps;
      }
      break;
    case Ladder::kDecode:
      if (scope_ == PlanScope::kSamePrefill) {
        drop_prefill(steps);
        seek(steps, PlanScope::kAfresh);
        return steps;
      }
      if (scope_ == PlanScope::kAfresh) {
        seek(steps, PlanScope::kAnyPod);
        return steps;
      }
      break;
    case Ladder::kHandoff:
      if (scope_ == PlanScope::kPair) {
        seek(steps, PlanScope::kAnyPod);
        return steps;
      }
      break;
  }
  return give_up(Kind::kAnswerError);
}

LegSteps LegPolicy::pods_changed() {
  LegSteps steps;
  if (phase_ == Phase::kWaiting) seek(steps, PlanScope::kAfresh);
  return steps;
}

LegSteps LegPolicy::wait_over(TimePoint now) {
  if (phase_ == Phase::kWaiting) return give_up(Kind::kAnswerError);
  if (phase_ == Phase::kRunning && verdict_awaited_) return retry_handoff(now);
  return {};
}

LegSteps LegPolicy::prefill_good(TimePoint now) {
  assert(phase_ == Phase::kRunning && prefill_ == Leg::kRunning);
  prefill_ = Leg::kGood;
  if (verdict_awaited_) return retry_handoff(now);
  if (dispatch_ == Dispatch::kSequential) {
    decode_ = Leg::kRunning;
    LegSteps steps;
    steps.push_back({Kind::kSendDecode});
    return steps;
  }
  return relay_if_both_good();
}

LegSteps LegPolicy::prefill_failed(LegFailure failure, TimePoint now) {
  assert(phase_ == Phase::kRunning && prefill_ == Leg::kRunning);
  prefill_ = Leg::kIdle;
  verdict_awaited_ = false;
  error_ = std::move(failure.error);
  if (failure.clients_fault) return give_up(Kind::kAnswerPodsError);
  if (failure.advice == LegAction::kFail) return give_up(Kind::kAnswerError);
  return retry(Ladder::kPrefill, PlanScope::kAfresh, Kind::kExcludePrefill, now);
}

LegSteps LegPolicy::prefill_was_all() {
  assert(phase_ == Phase::kRunning && prefill_ == Leg::kRunning && decode_ == Leg::kIdle);
  prefill_ = Leg::kIdle;  // it keeps nothing
  phase_ = Phase::kRelaying;
  LegSteps steps;
  steps.push_back({Kind::kAnswerWhole});
  return steps;
}

LegSteps LegPolicy::handoff_refused(Error error, TimePoint now) {
  assert(phase_ == Phase::kRunning && prefill_ == Leg::kRunning);
  prefill_ = Leg::kGood;
  error_ = std::move(error);
  return retry_handoff(now);
}

LegSteps LegPolicy::decode_good() {
  assert(phase_ == Phase::kRunning && decode_ == Leg::kRunning);
  decode_ = Leg::kGood;
  return relay_if_both_good();
}

LegSteps LegPolicy::decode_failed(LegFailure failure, TimePoint now) {
  assert(phase_ == Phase::kRunning && decode_ == Leg::kRunning);
  decode_ = Leg::kIdle;
  error_ = std::move(failure.error);
  if (failure.clients_fault) return give_up(Kind::kAnswerPodsError);
  if (failure.advice == LegAction::kFail) return give_up(Kind::kAnswerError);
  if (!split_) {
    return retry(Ladder::kDecode, PlanScope::kAfresh, Kind::kExcludeDecode, now);
  }
  if (failure.advice == LegAction::kRetryDecode) {
    return retry(Ladder::kDecode, PlanScope::kSamePrefill, Kind::kExcludeDecode, now);
  }
  if (error_.stage == Stage::kDecode) {  // the blocks served this pod alone
    return retry(Ladder::kDecode, PlanScope::kAfresh, Kind::kExcludeDecode, now);
  }
  if (prefill_ == Leg::kRunning) {
    verdict_awaited_ = true;
    LegSteps steps;
    steps.push_back({Kind::kAwaitPrefill});
    return steps;
  }
  return retry_handoff(now);
}

LegSteps LegPolicy::stream_ended() {
  assert(phase_ == Phase::kRelaying);
  phase_ = Phase::kEnded;
  LegSteps steps;
  steps.push_back({Kind::kEnd});
  return steps;
}

LegSteps LegPolicy::stream_failed(Error error) {
  assert(phase_ == Phase::kRelaying);
  error_ = std::move(error);
  phase_ = Phase::kEnded;
  LegSteps steps;
  steps.push_back({Kind::kEndWithErrorEvent});
  return steps;
}

LegSteps LegPolicy::client_left() {
  if (phase_ == Phase::kEnded) return {};
  if (phase_ == Phase::kRelaying) {
    // The decode pod has all blocks: it acknowledged them before its first token.
    phase_ = Phase::kEnded;
    LegSteps steps;
    if (decode_ != Leg::kIdle) steps.push_back({Kind::kCancelDecode});
    steps.push_back({Kind::kEnd});
    return steps;
  }
  return give_up(Kind::kEnd);
}

LegSteps LegPolicy::relay_if_both_good() {
  LegSteps steps;
  if (decode_ == Leg::kGood && (!split_ || prefill_ == Leg::kGood)) {
    phase_ = Phase::kRelaying;
    steps.push_back({Kind::kRelay});
  }
  return steps;
}

LegSteps LegPolicy::retry(Ladder ladder, PlanScope scope, LegActionKind exclude, TimePoint now) {
  verdict_awaited_ = false;
  if (attempts_ >= kMaxAttempts || !budget_.take(now)) {
    retry_refused_ = true;
    return give_up(Kind::kAnswerError);
  }
  ++attempts_;
  ladder_ = ladder;
  LegSteps steps;
  steps.push_back({exclude});
  if (scope == PlanScope::kSamePrefill) {
    drop_decode(steps);
  } else {
    drop_legs(steps);
  }
  seek(steps, scope);
  return steps;
}

// "The pair once more", without the pod whose blocks did not arrive where there is another; after
// that the decode pod computes the prompt itself.
LegSteps LegPolicy::retry_handoff(TimePoint now) {
  const PlanScope scope =
      std::exchange(handoff_retried_, true) ? PlanScope::kDecodeOnly : PlanScope::kPair;
  return retry(Ladder::kHandoff, scope, Kind::kExcludePrefill, now);
}

LegSteps LegPolicy::give_up(LegActionKind last) {
  LegSteps steps;
  drop_legs(steps);
  phase_ = Phase::kEnded;
  steps.push_back({last});
  return steps;
}

void LegPolicy::drop_legs(LegSteps& steps) {
  drop_decode(steps);
  drop_prefill(steps);
}

void LegPolicy::drop_decode(LegSteps& steps) {
  if (decode_ != Leg::kIdle) steps.push_back({Kind::kCancelDecode});
  decode_ = Leg::kIdle;
}

// A prefill leg that is cancelled may have sealed its blocks a moment ago: they are given back too.
void LegPolicy::drop_prefill(LegSteps& steps) {
  if (prefill_ == Leg::kRunning) steps.push_back({Kind::kCancelPrefill});
  if (prefill_ != Leg::kIdle) steps.push_back({Kind::kReleaseBlocks});
  prefill_ = Leg::kIdle;
}

void LegPolicy::seek(LegSteps& steps, PlanScope scope) {
  phase_ = Phase::kPlanning;
  scope_ = scope;
  steps.push_back({Kind::kPlan, scope});
}

}  // namespace baton::orchestrator
