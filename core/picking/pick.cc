#include "core/picking/pick.h"

#include <algorithm>
#include <cmath>

namespace baton {

std::array<PrefixChain, 2> prefix_chains(const PromptBlocks& blocks, Tokens prompt) {
  const double tokens_of_piece = blocks.text_bytes == 0
                                     ? 0.0
                                     : static_cast<double>(prompt.count()) * kTextPieceBytes /
                                           static_cast<double>(blocks.text_bytes);
  return {{{blocks.text_chain, tokens_of_piece},
           {blocks.token_chain, static_cast<double>(blocks.block_tokens.count())}}};
}

std::vector<Tokens> cached_tokens(const PickRequest& request, std::span<const std::uint32_t> pods,
                                  const Picking& picking, TimePoint now) {
  const std::int64_t most = std::max<std::int64_t>(request.prompt.count() - 1, 0);
  std::vector<Tokens> cached(pods.size());
  PrefixMatch room;
  for (const PrefixChain& chain : prefix_chains(request.blocks, request.prompt)) {
    if (chain.elements.empty()) continue;
    const auto held = picking.prefixes.match(chain.elements, pods, now, room);
    for (std::size_t i = 0; i < held.size(); ++i) {
      const auto tokens = static_cast<std::int64_t>(std::floor(held[i] * chain.tokens_each));
      cached[i] = std::max(cached[i], Tokens(std::min(tokens, most)));
    }
  }
  return cached;
}

std::string_view why_unusable(const PodEntry& entry, const PodLoad& load,
                              const PickRequest& request) {
  if (std::ranges::find(request.excluded, entry.pod.name) != request.excluded.end()) {
    return "already failed this request";
  }
  if (load.draining.load(std::memory_order_relaxed)) return "draining";
  switch (entry.state.health) {
    case Health::kUnknown: return "not heard of yet";
    case Health::kEjected: return "ejected";
    case Health::kDraining: return "draining";
    case Health::kHealthy: break;
  }
  // Why is the operator's to know: it may name what clients must not see.
  if (!entry.state.unusable_because.empty()) return "not usable, see GET /pods";
  const std::vector<std::string>& served = entry.pod.facts.served;
  if (!request.lora.empty() && !served.empty() &&
      std::ranges::find(served, request.lora) == served.end()) {
    return "without the adapter";
  }
  if (load.in_flight.load(std::memory_order_relaxed) >= entry.pod.max_running) {
    return "at max_running";
  }
  return {};
}

double queue_seconds(std::uint32_t pod, const PodLoad& load, const LatencyModel& model,
                     TimePoint now) {
  const PromptWork waiting = PromptWork::waiting_at(load);
  if (waiting.prompts <= 0) return 0.0;
  const double all = model.prefill_seconds(pod, waiting);
  // Of the prompt that is being computed some is done; how long it is nobody knows, so that no more
  // than a usual one is taken off.
  return all - std::min(load.computing_seconds(now).value_or(0.0), all / waiting.prompts);
}

double room_seconds(const PodState& state, const PodLoad& load, Tokens more,
                    double stream_seconds) {
  if (state.kv_capacity.count() <= 0) return 0.0;
  const auto held = static_cast<double>(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  const double missing =
      held + static_cast<double>(more.count()) - static_cast<double>(state.kv_capacity.count());
  if (missing <= 0 || held <= 0) return 0.0;
  return std::min(missing / held, 1.0) * stream_seconds;
}

double harm_seconds(std::uint32_t pod, const PodLoad& load, Tokens cached, Tokens uncached,
                    const LatencyModel& model) {
  const int running = load.running_decodes.load(std::memory_order_relaxed);
  if (running <= 0) return 0.0;
  PromptWork prompt = PromptWork::of(cached, uncached);
  prompt.prompts = 0;  // the fixed part holds up no step of others
  return model.prefill_seconds(pod, prompt) * running;
}

namespace {

struct Scored {
  const std::shared_ptr<const PodEntry>* entry = nullptr;
  Tokens cached{0};
  Score score;
};

struct Rejected {
  const std::shared_ptr<const PodEntry>* entry = nullptr;
  Tokens cached{0};
  std::string_view reason;
};

PlanCandidate candidate_of(const Scored& scored) {
  PlanCandidate candidate;
  candidate.pod = *scored.entry;
  candidate.cost_seconds = scored.score.cost_seconds;
  candidate.cached = scored.cached;
  for (const Score::Term& term : std::span(scored.score.terms).first(scored.score.count)) {
    candidate.terms.push_back({term.name, term.seconds});
  }
  return candidate;
}

bool is_cheaper(const Scored& a, const Scored& b) {
  if (a.score.cost_seconds != b.score.cost_seconds) {
    return a.score.cost_seconds < b.score.cost_seconds;
  }
  return (*a.entry)->index < (*b.entry)->index;
}

PolicyPod seen_by_policies(const Scored& scored, const PodLoad& load) {
  const PodState& state = (*scored.entry)->state;
  PolicyPod pod;
  pod.in_flight = load.in_flight.load(std::memory_order_relaxed);
  pod.running = load.running_decodes.load(std::memory_order_relaxed);
  pod.queued = Tokens(load.uncached_prefill_tokens.load(std::memory_order_relaxed));
  pod.kv = Tokens(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  pod.cached = scored.cached;
  pod.waiting = state.waiting;
  pod.kv_usage = state.kv_usage;
  for (const Score::Term& term : std::span(scored.score.terms).first(scored.score.count)) {
    const std::string_view name = term.name;
    if (name == "queue" || name == "admit" || name == "prefill") pod.start_seconds += term.seconds;
  }
  return pod;
}

// Puts the pod that the request's policy picks first.
void put_chosen_first(PickStage stage, const PickRequest& request, const Picking& picking,
                      std::vector<Scored>& usable) {
  std::vector<PolicyPod> pods;
  pods.reserve(usable.size());
  for (const Scored& scored : usable) {
    pods.push_back(seen_by_policies(scored, picking.loads.of((*scored.entry)->index)));
  }
  PolicyRequest asked{
      .stage = stage, .prompt = request.prompt, .turn = request.turn, .seed = request.seed};
  const Tokens block = (*usable.front().entry)->pod.facts.block_tokens;
  if (block.count() > 0) asked.block_tokens = block;
  std::swap(usable.front(), usable[choose(request.policy, asked, pods)]);
}

}  // namespace

std::vector<PlanCandidate> shortlist_by(const StagePolicy& policy, const PickRequest& request,
                                        const Snapshot& snapshot, const Picking& picking,
                                        TimePoint now) {
  std::vector<const std::shared_ptr<const PodEntry>*> entries;
  std::vector<std::uint32_t> indexes;
  for (const auto& entry : snapshot.pods) {
    if (!policy.has_role(entry->pod.role)) continue;
    entries.push_back(&entry);
    indexes.push_back(entry->index);
  }
  const auto cached = cached_tokens(request, indexes, picking, now);

  std::vector<Scored> usable;
  std::vector<Rejected> rejected;
  usable.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const PodEntry& entry = **entries[i];
    const PodLoad& load = picking.loads.of(entry.index);
    const std::string_view reason = why_unusable(entry, load, request);
    if (reason.empty()) {
      usable.push_back({entries[i], cached[i],
                        policy.score(entry, load, cached[i], request, picking.model, now)});
    } else if (request.explain) {
      rejected.push_back({entries[i], cached[i], reason});
    }
  }

  const bool predicts = request.policy == Policy::kPredicted;
  const std::size_t listed = predicts ? kShortlistPods : 1;
  const std::size_t kept = request.explain ? usable.size() : std::min(usable.size(), listed);
  if (predicts) {
    std::ranges::partial_sort(usable, usable.begin() + static_cast<std::ptrdiff_t>(kept),
                              is_cheaper);
  } else if (!usable.empty()) {
    put_chosen_first(policy.stage, request, picking, usable);
  }
  std::vector<PlanCandidate> candidates;
  for (const Scored& scored : std::span(usable).first(kept)) {
    candidates.push_back(candidate_of(scored));
    if (candidates.size() <= listed) continue;
    candidates.back().rejected_because = predicts ? "costs more" : "not picked by the policy";
  }
  for (const Rejected& pod : rejected) {
    PlanCandidate& candidate = candidates.emplace_back();
    candidate.pod = *pod.entry;
    candidate.cached = pod.cached;
    candidate.rejected_because = pod.reason;
  }
  return candidates;
}

}  // namespace baton
