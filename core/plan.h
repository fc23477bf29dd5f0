#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/pod.h"
#include "core/units.h"

namespace baton {

// One term of a predicted cost, for `explain`. Its name is a literal.
struct PlanTerm {
  std::string_view name;
  double seconds = 0.0;
};

// What the predicted cost of a pod is made of, in the order in which it is told.
enum class CostTerm : std::uint8_t {
  kQueue,
  kAdmit,
  kPrefill,
  kHarm,
  kTransfer,
  kRoom,
  kStep,
  kTokens,
  kLora,
};
inline constexpr std::size_t kCostTerms = 9;
[[nodiscard]] std::string_view name_of(CostTerm term);

// A cost as the sum of its terms, without memory of its own: a thousand pods are scored for one
// request.
class Score {
 public:
  void add(CostTerm term, double seconds) {
    const auto at = static_cast<std::size_t>(term);
    seconds_[at] = seconds;
    has_ |= 1U << at;
    sum_ += seconds;
  }
  [[nodiscard]] double seconds() const { return sum_; }
  // 0: it has no such term.
  [[nodiscard]] double operator[](CostTerm term) const {
    return seconds_[static_cast<std::size_t>(term)];
  }
  [[nodiscard]] bool empty() const { return has_ == 0; }  // not scored
  [[nodiscard]] std::vector<PlanTerm> terms() const;

 private:
  std::array<double, kCostTerms> seconds_{};
  double sum_ = 0.0;
  unsigned has_ = 0;
};

struct PlanCandidate {
  std::shared_ptr<const PodEntry> pod;
  Tokens cached{0};                   // prompt tokens that the pod is believed to hold
  Score score;                        // empty: it was not scored
  std::string_view rejected_because;  // a literal; empty: in the shortlist
};

// What serving a LoRA adapter on a pod asks for first.
enum class LoraResidency : std::uint8_t {
  kResident,  // nothing: it is loaded, or no adapter is wanted
  kLoadable,  // loading it; also where the pod's slots are unknown
  kFull,      // evicting another adapter, then loading it
};

enum class PlanKind : std::uint8_t { kSplit, kDecodeOnly };

// One way to serve a request, for `explain`.
struct PlanOption {
  std::shared_ptr<const PodEntry> prefill;  // null: decode-only
  std::shared_ptr<const PodEntry> decode;
  Tokens prefill_cached{0};
  Tokens decode_cached{0};
  double cost_seconds = 0.0;
  double ttft_seconds = 0.0;
  double tpot_seconds = 0.0;
  std::vector<PlanTerm> terms;  // they add up to the cost; one of each name
  bool misses_slo = false;      // by its verdict
};

// An option beside the one that was taken.
struct PlanAlternative {
  enum class Differs : std::uint8_t { kPrefillPod, kDecodePod, kKind };
  Differs differs = Differs::kKind;
  PlanOption option;
  bool ties = false;         // costs as little as the one taken, for all that predictions are worth
  std::string ruled_out_by;  // whatever it costs; empty: the cost alone decides
};

// What a plan means for the request's SLO, as predicted when it was made. For the verdict alone:
// the cost takes every stream that the router has committed to the decode pod.
struct SloVerdict {
  double ttft_seconds = 0.0;       // with what had passed before the plan
  double tpot_seconds = 0.0;       // by the decode pod's batch when the prompt will be computed
  double ttft_over_seconds = 0.0;  // beyond the SLO; 0: kept, or none is asked for
  double tpot_over_seconds = 0.0;
  double retry_seconds = 0.0;  // until the SLO would be kept if nothing else came; 0: it is
  bool is_refused = false;     // missed, and the pool refuses what misses its SLO

  [[nodiscard]] bool misses() const { return ttft_over_seconds > 0 || tpot_over_seconds > 0; }
};

// What the routers decided for one request: split or decode-only, which pods, why. A value; made by
// the planner, carried by the request to its end, printed by `x-baton-explain` and /plan.
struct Plan {
  PlanKind kind = PlanKind::kSplit;
  std::string pool;
  std::shared_ptr<const PodEntry> prefill;  // null when decode-only
  std::shared_ptr<const PodEntry> decode;
  Tokens prompt{0};  // estimated, or exact where ids are known
  Tokens prefill_cached{0};
  Tokens decode_cached{0};
  LoraResidency adapter = LoraResidency::kResident;  // on the pod that computes the prompt
  double predicted_ttft_seconds = 0.0;
  double predicted_tpot_seconds = 0.0;
  SloVerdict verdict;
  std::string reason;  // why decode-only, or why this pair
  // Filled only where an explanation is wanted. Alternatives: the cheapest with another prefill
  // pod, with another decode pod, and of the other kind, as far as there are any.
  std::vector<PlanCandidate> prefill_candidates;
  std::vector<PlanCandidate> decode_candidates;
  PlanOption chosen;
  std::vector<PlanAlternative> alternatives;
};

}  // namespace baton
