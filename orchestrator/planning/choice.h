#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/picking/pick.h"
#include "core/picking/policy.h"
#include "core/plan.h"
#include "core/pod.h"
#include "core/units.h"
#include "decode_router/decode_router.h"
#include "orchestrator/planning/planner.h"

namespace baton::orchestrator {

// One way to serve the request: a pair, or one pod for both stages.
struct Option {
  const PlanCandidate* prefill = nullptr;  // null: decode-only
  const PlanCandidate* decode = nullptr;
  double cost_seconds = 0.0;
  double ttft_seconds = 0.0;
  double tpot_seconds = 0.0;
  int in_flight = 0;
  double exposed_seconds = 0.0;  // of a pair: what of "transfer" and "admit" prefill does not hide
  double admit_seconds = 0.0;
};
using Options = boost::container::small_vector<Option, kShortlistPods * kShortlistPods>;

// How both stages pick, and what those of others count and draw by.
struct Picks {
  Policy prefill = Policy::kPredicted;
  Policy decode = Policy::kPredicted;
  std::uint64_t prefill_turn = 0;
  std::uint64_t decode_turn = 0;
  std::uint64_t seed = 0;
  [[nodiscard]] bool predicts() const {
    return prefill == Policy::kPredicted && decode == Policy::kPredicted;
  }
};

// The shortlists of one request and the options that they make. Borrows; lives for one call of the
// planner. Pure, as that is.
class Choice {
 public:
  Choice(const PlanRequest& request, const Snapshot& snapshot, const Picking& picking,
         const Picks& picks, TimePoint now);
  // Asks the decode router once for all that will be wanted of it.
  void ask_decode(decode::Wanted wanted);
  // All compatible pairs; why there is none, where there is none.
  [[nodiscard]] Options pairs(std::string& why_none);
  // All pods that could do both stages.
  [[nodiscard]] Options singles();
  // Where a miss is refused, what keeps the SLO goes before what costs less.
  void keep_slo(Options& pairs, Options& singles) const;
  [[nodiscard]] Plan plan_of(const Option& option, std::string reason);
  // For the explanation alone: what the kind that cannot be taken would have cost.
  void weigh_singles(std::string ruled_out_by);
  void weigh_pairs(std::string ruled_out_by);
  // No pod can decode: says how many were turned down for what.
  [[nodiscard]] std::unexpected<Error> no_decode_pod();

 private:
  [[nodiscard]] PickRequest pick_prefill() const;
  [[nodiscard]] PickRequest pick_decode() const;
  [[nodiscard]] bool has_both() const;
  [[nodiscard]] int in_flight(const PlanCandidate& candidate) const;
  // Prefill hides as much of the transfer as it takes itself; the decode router could not know.
  [[nodiscard]] Option pair_of(const PlanCandidate& prefill, const PlanCandidate& decode) const;
  [[nodiscard]] SloVerdict verdict_of(const Option& option) const;
  // With its terms as they count in the option, where both stages' add up.
  [[nodiscard]] PlanOption priced(const Option& option) const;
  void note(const Options& options);
  // Predicted seconds a token after the first, with what prompts beside it take.
  [[nodiscard]] double pace_of(const PlanCandidate& decode) const;
  [[nodiscard]] double excess_cost(const Option& option) const;

  const PlanRequest& request_;
  const Snapshot& snapshot_;
  const Picking& picking_;
  const Picks& picks_;
  const double stream_weight_;
  TimePoint now_;
  Candidates prefills_;
  Candidates decodes_;
  Candidates singles_;
  std::vector<PlanOption> weighed_;  // for the explanation
  std::string other_kind_not_;       // why what is not the plan's kind cannot be taken
};

}  // namespace baton::orchestrator
