#pragma once

#include <boost/container/static_vector.hpp>
#include <cstdint>

#include "adapters/engines/connector.h"
#include "core/error.h"
#include "core/plan.h"
#include "core/units.h"
#include "orchestrator/lifecycle/retry_budget.h"

namespace baton::orchestrator {

// Among which pods the next plan is sought.
enum class PlanScope : std::uint8_t {
  kAfresh,       // as the pool wants it, without the pods that failed this request
  kPair,         // the same, but split
  kAnyPod,       // as the pool wants it, pods that failed this request allowed again
  kSamePrefill,  // the hand-off stands: only another decode pod
  kDecodeOnly,   // prefill on the decode pod
};

enum class LegActionKind : std::uint8_t {
  kPlan,          // seek a plan in `scope`; answer with planned() or no_plan()
  kWaitForPods,   // until a new snapshot or empty_wait; answer with pods_changed(), wait_over()
  kAwaitPrefill,  // for kVerdictTime; answer with wait_over() unless a leg ends before
  kNewHandoff,    // draw a new transfer id
  kSendPrefill,
  kSendDecode,
  kCancelPrefill,  // close the leg's connection
  kCancelDecode,
  kReleaseBlocks,   // tell the prefill pod that nobody will fetch them
  kExcludePrefill,  // this request uses the pod no more
  kExcludeDecode,
  kRelay,              // to the client, as the decode leg answers
  kAnswerWhole,        // the prefill leg's answer is all of it
  kAnswerPodsError,    // the failed leg's answer is the client's own (4xx): as it is
  kAnswerError,        // LegPolicy::error()
  kEndWithErrorEvent,  // the answer was begun: an error event, then an unclean close
  kEnd,                // nothing more is to be done
};

struct LegStep {
  LegActionKind kind = LegActionKind::kEnd;
  PlanScope scope = PlanScope::kAfresh;
  bool operator==(const LegStep&) const = default;
};
using LegSteps = boost::container::static_vector<LegStep, 8>;

// How a leg failed before the first byte of its answer was used.
struct LegFailure {
  Error error;
  adapters::LegAction advice = adapters::LegAction::kFail;  // the connector's
  bool clients_fault = false;                               // a 4xx that another pod would give too
};

// How long a hand-off's failure waits for the prefill leg's own word on it, which says more.
inline constexpr Duration kVerdictTime = std::chrono::milliseconds(100);

// Decides what a request does next: which leg is sent, cancelled or tried again, by the failure
// table of docs/operations.md. Pure: observations in, steps out, which the caller carries out in
// order; no I/O, no clock. Owned by one request. It promises that a request ends exactly once, that
// nothing is relayed before both legs are known to be good, that nothing is retried after that, and
// at most kMaxAttempts within the thread's retry budget.
class LegPolicy {
 public:
  static constexpr int kMaxAttempts = 3;

  LegPolicy(adapters::Dispatch dispatch, RetryBudget& budget)
      : dispatch_(dispatch), budget_(budget) {}

  [[nodiscard]] LegSteps start(TimePoint now);
  [[nodiscard]] LegSteps planned(PlanKind kind);
  [[nodiscard]] LegSteps no_plan(Error error);
  [[nodiscard]] LegSteps pods_changed();
  [[nodiscard]] LegSteps wait_over(TimePoint now);

  // A leg's answer: prefill's read whole with 200, decode's head with 200. `failed` is of the leg
  // named by the function, whatever stage its error names. Only of legs that were not cancelled.
  [[nodiscard]] LegSteps prefill_good(TimePoint now);
  [[nodiscard]] LegSteps prefill_failed(LegFailure failure, TimePoint now);
  // Good answers of prefill that are not followed by a decode leg, or not by the one that was sent.
  [[nodiscard]] LegSteps prefill_was_all();
  [[nodiscard]] LegSteps handoff_refused(Error error, TimePoint now);
  [[nodiscard]] LegSteps decode_good();
  [[nodiscard]] LegSteps decode_failed(LegFailure failure, TimePoint now);

  // After kRelay or kAnswerWhole.
  [[nodiscard]] LegSteps stream_ended();
  [[nodiscard]] LegSteps stream_failed(Error error);

  [[nodiscard]] LegSteps client_left();

  [[nodiscard]] const Error& error() const { return error_; }  // of the last failure
  [[nodiscard]] int attempts() const { return attempts_; }
  [[nodiscard]] bool retry_refused() const { return retry_refused_; }
  [[nodiscard]] bool ended() const { return phase_ == Phase::kEnded; }

 private:
  enum class Phase : std::uint8_t { kNew, kPlanning, kWaiting, kRunning, kRelaying, kEnded };
  enum class Leg : std::uint8_t { kIdle, kRunning, kGood };
  enum class Ladder : std::uint8_t { kFirst, kPrefill, kDecode, kHandoff };

  [[nodiscard]] LegSteps relay_if_both_good();
  [[nodiscard]] LegSteps retry(Ladder ladder, PlanScope scope, LegActionKind exclude,
                               TimePoint now);
  [[nodiscard]] LegSteps retry_handoff(TimePoint now);
  [[nodiscard]] LegSteps give_up(LegActionKind last);
  void drop_legs(LegSteps& steps);  // cancels what runs, gives the blocks back
  void drop_decode(LegSteps& steps);
  void drop_prefill(LegSteps& steps);
  void seek(LegSteps& steps, PlanScope scope);

  adapters::Dispatch dispatch_;
  RetryBudget& budget_;
  Phase phase_ = Phase::kNew;
  Leg prefill_ = Leg::kIdle;
  Leg decode_ = Leg::kIdle;
  bool split_ = false;
  bool handoff_retried_ = false;
  bool verdict_awaited_ = false;
  bool retry_refused_ = false;
  Ladder ladder_ = Ladder::kFirst;
  PlanScope scope_ = PlanScope::kAfresh;
  int attempts_ = 0;
  Error error_;
};

}  // namespace baton::orchestrator
