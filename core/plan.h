#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/pod.h"
#include "core/units.h"

namespace baton {

// One term of a candidate's predicted cost, for `explain`.
struct PlanTerm {
  std::string name;  // "queue", "prefill", "transfer", "step", "lora"
  double seconds = 0.0;
};

struct PlanCandidate {
  std::shared_ptr<const PodEntry> pod;
  double cost_seconds = 0.0;
  Tokens cached{0};  // prompt tokens that the pod is believed to hold
  std::vector<PlanTerm> terms;
  std::string rejected_because;  // empty: in the shortlist
};

enum class PlanKind : std::uint8_t { kSplit, kDecodeOnly };

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
  double predicted_ttft_seconds = 0.0;
  double predicted_tpot_seconds = 0.0;
  std::string reason;                             // why decode-only, or why this pair
  std::vector<PlanCandidate> prefill_candidates;  // filled only where an explanation is wanted
  std::vector<PlanCandidate> decode_candidates;
};

}  // namespace baton
