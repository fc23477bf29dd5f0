#include "decode_router/decode_router.h"

#include <algorithm>

namespace baton::decode {
namespace {

Score score_pod(const PodEntry& entry, const PodLoad& load, Tokens cached,
                const PickRequest& request, const LatencyModel& model) {
  const int running = load.running_decodes.load(std::memory_order_relaxed);
  const Tokens kv =
      Tokens(load.reserved_kv_tokens.load(std::memory_order_relaxed)) + request.prompt;
  const Tokens missing = request.prompt - cached;
  const double step = model.step_seconds(entry.index, running + 1, static_cast<double>(kv.count()));
  const auto later_tokens = std::max<std::int64_t>(request.expected_output.count() - 1, 0);

  Score score;
  score.add("admit", model.prefill_seconds(entry.index, PromptWork::waiting_at(load)));
  if (request.whole) {
    PromptWork prompt = PromptWork::of(cached, missing);
    score.add("prefill", model.prefill_seconds(entry.index, prompt));
    prompt.prompts = 0;  // the fixed part holds up no step of others
    score.add("harm", model.prefill_seconds(entry.index, prompt) * running);
  } else {
    const Bytes bytes(entry.pod.facts.bytes_per_token.count() * missing.count());
    score.add("transfer", model.transfer_seconds(LatencyModel::kAnyPod, entry.index, bytes) +
                              model.handoff_seconds());
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
