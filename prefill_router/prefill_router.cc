#include "prefill_router/prefill_router.h"

namespace baton::prefill {
namespace {

Score score_pod(const PodEntry& entry, const PodLoad& load, Tokens cached,
                const PickRequest& request, const LatencyModel& model) {
  Score score;
  score.add("queue", model.prefill_seconds(entry.index, PromptWork::waiting_at(load)));
  score.add("prefill", model.prefill_seconds(entry.index, cached, request.prompt - cached));
  score.add("lora", model.lora_seconds(lora_residency(entry.state, request.lora)));
  return score;
}

}  // namespace

std::vector<PlanCandidate> shortlist(const PickRequest& request, const Snapshot& snapshot,
                                     const Picking& picking, TimePoint now) {
  return shortlist_by({PickStage::kPrefill, can_prefill, score_pod}, request, snapshot, picking,
                      now);
}

}  // namespace baton::prefill
