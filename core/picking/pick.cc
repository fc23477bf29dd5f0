#include "core/picking/pick.h"

#include <limits>
#include <utility>

namespace baton {

namespace {

PolicyPod seen_by_policies(const PodSeen& pod, const Score& score) {
  const PodState& state = (*pod.entry)->state;
  PolicyPod seen;
  seen.in_flight = pod.load->in_flight.load(std::memory_order_relaxed);
  seen.running = pod.load->running_decodes.load(std::memory_order_relaxed);
  seen.queued = Tokens(pod.load->uncached_prefill_tokens.load(std::memory_order_relaxed));
  seen.kv = Tokens(pod.load->reserved_kv_tokens.load(std::memory_order_relaxed));
  seen.cached = pod.cached;
  seen.waiting = state.waiting;
  seen.kv_usage = state.kv_usage;
  seen.start_seconds =
      score[CostTerm::kQueue] + score[CostTerm::kAdmit] + score[CostTerm::kPrefill];
  return seen;
}

}  // namespace

Shortlist::Shortlist(PickStage stage, const PickRequest& request)
    : stage_(stage),
      request_(request),
      predicts_(request.policy == Policy::kPredicted),
      most_(predicts_ && !request.explain ? kShortlistPods
                                          : std::numeric_limits<std::size_t>::max()) {}

void Shortlist::keep(const Scored& scored) {
  if (kept_.size() < most_) {
    kept_.push_back(scored);
    if (kept_.size() == most_) std::ranges::make_heap(kept_, is_cheaper);
    return;
  }
  if (!is_cheaper(scored, kept_.front())) return;
  std::ranges::pop_heap(kept_, is_cheaper);
  kept_.back() = scored;
  std::ranges::push_heap(kept_, is_cheaper);
}

void Shortlist::put_chosen_first() {
  std::vector<PolicyPod> pods;
  pods.reserve(kept_.size());
  for (const Scored& scored : kept_) pods.push_back(seen_by_policies(scored.pod, scored.score));
  PolicyRequest asked{
      .stage = stage_, .prompt = request_.prompt, .turn = request_.turn, .seed = request_.seed};
  const Tokens block = (*kept_.front().pod.entry)->pod.facts.block_tokens;
  if (block.count() > 0) asked.block_tokens = block;
  std::swap(kept_.front(), kept_[choose(request_.policy, asked, pods)]);
}

Candidates Shortlist::take() {
  const std::size_t listed = predicts_ ? kShortlistPods : 1;
  if (predicts_) {
    std::ranges::sort(kept_, is_cheaper);
  } else if (!kept_.empty()) {
    put_chosen_first();
  }
  if (!request_.explain) kept_.resize(std::min(kept_.size(), listed));
  Candidates candidates;
  for (const Scored& scored : kept_) {
    candidates.push_back({*scored.pod.entry, scored.pod.cached, scored.score, {}});
    if (candidates.size() <= listed) continue;
    candidates.back().rejected_because = predicts_ ? "costs more" : "not picked by the policy";
  }
  for (const Rejected& rejected : rejected_) {
    candidates.push_back({*rejected.pod.entry, rejected.pod.cached, {}, rejected.reason});
  }
  return candidates;
}

}  // namespace baton
