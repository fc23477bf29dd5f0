#include "decode_router/decode_router.h"

#include <algorithm>

namespace baton::decode {
namespace {

constexpr double kMostPrefillShare = 0.9;

Score score_pod(const PodEntry& entry, const PodLoad& load, Tokens cached,
                const PickRequest& request, const LatencyModel& model, TimePoint now) {
  const int running = load.running_decodes.load(std::memory_order_relaxed);
  const auto kv = static_cast<double>(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  const auto prompt = static_cast<double>(request.prompt.count());
  const auto output =
      static_cast<double>(std::max<std::int64_t>(request.expected_output.count(), 1));
  const Tokens missing = request.prompt - cached;
  const double step = model.step_seconds(entry.index, running + 1, kv + prompt);
  const double weight = request.stream_weight;

  // Prompts that are computed beside the stream hold it up.
  const double share = std::min(load.prefills.share(now), kMostPrefillShare);

  Score score;
  score.add("admit", queue_seconds(entry.index, load, model, now));
  if (request.whole) {
    score.add("prefill", model.prefill_seconds(entry.index, cached, missing));
    score.add("harm", weight * harm_seconds(entry.index, load, cached, missing, model));
  } else {
    const Bytes bytes = entry.pod.facts.kv_bytes(missing);
    score.add("transfer", model.transfer_seconds(LatencyModel::kAnyPod, entry.index, bytes) +
                              model.handoff_seconds());
  }
  score.add("room", room_seconds(entry.state, load, request.prompt + request.expected_output,
                                 step / (1 - share) * output));
  score.add("step", step);
  score.add("tokens", weight * kPaceWeight * step / (1 - share) * (output - 1));
  score.add("lora", model.lora_seconds(lora_residency(entry.state, request.lora)));
  return score;
}

}  // namespace

std::vector<PlanCandidate> shortlist(const PickRequest& request, const Snapshot& snapshot,
                                     const Picking& picking, TimePoint now) {
  const auto does_both = [](Role role) { return role == Role::kBoth; };
  const bool both = request.whole && request.decode_needs_handoff;
  const PickStage stage = request.whole ? PickStage::kWhole : PickStage::kDecode;
  return shortlist_by({stage, both ? +does_both : can_decode, score_pod}, request, snapshot,
                      picking, now);
}

}  // namespace baton::decode
