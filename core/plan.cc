#include "core/plan.h"

namespace baton {

std::string_view name_of(CostTerm term) {
  switch (term) {
    case CostTerm::kQueue: return "queue";
    case CostTerm::kAdmit: return "admit";
    case CostTerm::kPrefill: return "prefill";
    case CostTerm::kHarm: return "harm";
    case CostTerm::kTransfer: return "transfer";
    case CostTerm::kRoom: return "room";
    case CostTerm::kStep: return "step";
    case CostTerm::kTokens: return "tokens";
    case CostTerm::kLora: return "lora";
  }
  return "";
}

std::vector<PlanTerm> Score::terms() const {
  std::vector<PlanTerm> terms;
  for (std::size_t at = 0; at < kCostTerms; ++at) {
    if ((has_ >> at & 1U) != 0) terms.push_back({name_of(static_cast<CostTerm>(at)), seconds_[at]});
  }
  return terms;
}

}  // namespace baton
