#include "decode_router/decode_router.h"

#include <algorithm>

namespace baton::decode {
namespace {

Score score_pod(const PodEntry& entry, const PodLoad& load, Tokens cached,
                const PickRequest& request, const LatencyModel& model) {
  const int running = load.running_decodes.load(std::memory_order_relaxed);
  const Tokens reserved(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  const Tokens queued(load.uncached_prefill_tokens.load(std::memory_order_relaxed));
  const Tokens missing = request.prompt - cached;
  const double step = model.step_seconds(running + 1, reserved + request.prompt);
  const auto later_tokens = std::max<std::int64_t>(request.expected_output.count() - 1, 0);

  Score score;
  score.add("admit", model.prefill_seconds(queued));
  if (request.whole) {
    score.add("prefill", model.prefill_seconds(missing));
    score.add("harm", model.prefill_seconds(missing) * running);
  } else {
    const Bytes bytes(entry.pod.facts.bytes_per_token.count() * missing.count());
    score.add("transfer", model.exposed_transfer_seconds(bytes, 0.0));
  }
  score.add("step", step);
  score.add("tokens", step * static_cast<double>(later_tokens));
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
