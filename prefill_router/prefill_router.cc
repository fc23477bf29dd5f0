#include "prefill_router/prefill_router.h"

namespace baton::prefill {
namespace {

Score score_pod(const PodEntry& entry, const PodLoad& load, Tokens cached,
                const PickRequest& request, const LatencyModel& model, TimePoint now) {
  const Tokens missing = request.prompt - cached;
  Score score;
  score.add("queue", queue_seconds(entry.index, load, model, now));
  score.add("prefill", model.prefill_seconds(entry.index, cached, missing));
  score.add("harm",
            request.stream_weight * harm_seconds(entry.index, load, cached, missing, model));
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
