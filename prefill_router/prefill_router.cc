#include "prefill_router/prefill_router.h"

#include <string_view>

#include "core/picking/cost_terms.h"

namespace baton::prefill {
namespace {

template <class Sum>
Sum cost_of(const PodSeen& pod, const PickRequest& request, const LatencyModel& model,
            PromptTimes& times, TimePoint now, Sum cost) {
  const PodEntry& entry = **pod.entry;
  const double factor = model.factors(entry.index).prefill;
  cost.add(CostTerm::kQueue, queue_seconds(*pod.load, model, factor, now));
  add_prefill(cost, times, pod.cached, factor, *pod.load, request.stream_weight);
  cost.add(CostTerm::kLora,
           lora_seconds(entry.state, *pod.load, request.lora, request.lora_key, model));
  return cost;
}

}  // namespace

Candidates shortlist(const PickRequest& request, const Snapshot& snapshot, const Picking& picking,
                     TimePoint now) {
  PromptTimes times(request.prompt, picking.model);
  Shortlist best(PickStage::kPrefill, request);
  for_each_pod(
      request, snapshot, picking, can_prefill,
      [&](const PodSeen& pod) {
        best.offer(pod,
                   [&](auto sum) { return cost_of(pod, request, picking.model, times, now, sum); });
      },
      [&](const PodSeen& pod, std::string_view reason) { best.reject(pod, reason); });
  return best.take();
}

}  // namespace baton::prefill
