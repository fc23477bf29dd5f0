#include "decode_router/decode_router.h"

#include <algorithm>
#include <string_view>

#include "core/picking/cost_terms.h"

namespace baton::decode {
namespace {

// What a pod costs whoever computes the prompt.
struct DecodeCost {
  LatencyModel::Factors factors;
  double admit;
  double room;
  double step;
  double tokens;
  double lora;
};

DecodeCost cost_of(const PodSeen& pod, const PickRequest& request, const LatencyModel& model,
                   TimePoint now) {
  const PodEntry& entry = **pod.entry;
  const PodLoad& load = *pod.load;
  const LatencyModel::Factors factors = model.factors(entry.index);
  const int running = load.running_decodes.load(std::memory_order_relaxed);
  const auto kv = static_cast<double>(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  const auto prompt = static_cast<double>(request.prompt.count());
  const auto output =
      static_cast<double>(std::max<std::int64_t>(request.expected_output.count(), 1));
  const double step =
      model.step_seconds(LatencyModel::kAnyPod, running + 1, kv + prompt) * factors.step;
  // Prompts that are computed beside the stream stop it, which counts whole, as in `harm`.
  const double pace = pace_seconds(step, load, now);
  const double stops = pace - step;
  return {.factors = factors,
          .admit = queue_seconds(load, model, factors.prefill, now),
          .room = room_seconds(entry.state, load, request.prompt + request.expected_output,
                               pace * output),
          .step = step,
          .tokens = request.stream_weight * (kPaceWeight * step + stops) * (output - 1),
          .lora = lora_seconds(entry.state, load, request.lora, request.lora_key, model)};
}

template <class Sum>
void add_decode(Sum& sum, const DecodeCost& cost) {
  sum.add(CostTerm::kRoom, cost.room);
  sum.add(CostTerm::kStep, cost.step);
  sum.add(CostTerm::kTokens, cost.tokens);
  sum.add(CostTerm::kLora, cost.lora);
}

template <class Sum>
Sum after_prefill(const DecodeCost& cost, const PodSeen& pod, const PickRequest& request,
                  const LatencyModel& model, Sum sum) {
  const PodEntry& entry = **pod.entry;
  const Bytes bytes = entry.pod.facts.kv_bytes(request.prompt - pod.cached);
  sum.add(CostTerm::kAdmit, cost.admit);
  sum.add(CostTerm::kTransfer, model.transfer_seconds(LatencyModel::kAnyPod, entry.index, bytes) +
                                   model.handoff_seconds());
  add_decode(sum, cost);
  return sum;
}

template <class Sum>
Sum as_only_pod(const DecodeCost& cost, const PodSeen& pod, const PickRequest& request,
                PromptTimes& times, Sum sum) {
  sum.add(CostTerm::kAdmit, cost.admit);
  add_prefill(sum, times, pod.cached, cost.factors.prefill, *pod.load, request.stream_weight);
  add_decode(sum, cost);
  return sum;
}

}  // namespace

Shortlists shortlists(Wanted wanted, const PickRequest& request, const Snapshot& snapshot,
                      const Picking& picking, TimePoint now) {
  const bool pairs_wanted = wanted != Wanted::kSingles;
  const bool singles_wanted = wanted != Wanted::kPairs;
  PromptTimes times(request.prompt, picking.model);
  Shortlist pairs(PickStage::kDecode, request);
  Shortlist singles(PickStage::kWhole, request);
  const auto can_be_single = [&](const PodSeen& pod) {
    return singles_wanted &&
           (!request.decode_needs_handoff || (*pod.entry)->pod.role == Role::kBoth);
  };
  for_each_pod(
      request, snapshot, picking, can_decode,
      [&](const PodSeen& pod) {
        const DecodeCost cost = cost_of(pod, request, picking.model, now);
        if (pairs_wanted) {
          pairs.offer(
              pod, [&](auto sum) { return after_prefill(cost, pod, request, picking.model, sum); });
        }
        if (can_be_single(pod)) {
          singles.offer(pod, [&](auto sum) { return as_only_pod(cost, pod, request, times, sum); });
        }
      },
      [&](const PodSeen& pod, std::string_view reason) {
        if (pairs_wanted) pairs.reject(pod, reason);
        if (can_be_single(pod)) singles.reject(pod, reason);
      });
  return {pairs.take(), singles.take()};
}

}  // namespace baton::decode
