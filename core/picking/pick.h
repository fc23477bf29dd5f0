#pragma once

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/picking/policy.h"
#include "core/picking/prompt_holders.h"
#include "core/picking/sent_adapters.h"
#include "core/plan.h"
#include "core/pod.h"

namespace baton {

inline constexpr std::size_t kShortlistPods = 8;
using Candidates = boost::container::small_vector<PlanCandidate, kShortlistPods>;

// What both routers are asked: the request, in the terms that picking needs. Borrows; lives for one
// call.
struct PickRequest {
  Tokens prompt{0};
  std::string_view lora{};  // empty: the base model
  SentAdapters::Key lora_key = 0;
  Tokens expected_output{0};
  bool decode_needs_handoff = false;        // a pod that does both stages must have the role `both`
  std::span<const std::string> excluded{};  // names of pods that this request may not use here
  bool explain = false;                     // keep rejected pods with their reasons
  double stream_weight = 1.0;          // what a second of streaming costs in seconds of waiting
  Policy policy = Policy::kPredicted;  // of the stage; one of others' picks a single pod
  std::uint64_t turn = 0;              // counts the stage's picks
  std::uint64_t seed = 0;
};

// What both routers decide from beside the snapshot. Borrows.
struct Picking {
  LoadTable& loads;
  const PromptHolders& holders;  // of the request's prompt
  const LatencyModel& model;
};

// Why a pod cannot be chosen now, whatever the stage; empty: it can.
[[nodiscard]] inline std::string_view why_unusable(const PodEntry& entry, const PodLoad& load,
                                                   const PickRequest& request) {
  if (!request.excluded.empty() &&
      std::ranges::find(request.excluded, entry.pod.name) != request.excluded.end()) {
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

// A pod of the snapshot, and what of the prompt it holds.
struct PodSeen {
  const std::shared_ptr<const PodEntry>* entry;
  const PodLoad* load;
  Tokens cached;
};

// Calls score(PodSeen) for every pod that can take the request, and reject(PodSeen, reason) for the
// others where the request asks for an explanation. `has_role` tells whom the stage asks.
template <class HasRole, class Score, class Reject>
void for_each_pod(const PickRequest& request, const Snapshot& snapshot, const Picking& picking,
                  HasRole has_role, Score score, Reject reject) {
  for (const auto& entry : snapshot.pods) {
    if (!has_role(entry->pod.role)) continue;
    const PodLoad& load = picking.loads.of(entry->index);
    const std::string_view reason = why_unusable(*entry, load, request);
    if (!reason.empty() && !request.explain) continue;
    const PodSeen seen{&entry, &load, picking.holders.held_by(entry->index)};
    if (reason.empty()) {
      score(seen);
    } else {
      reject(seen, reason);
    }
  }
}

// As a Score adds up, without its terms.
class CostSum {
 public:
  void add(CostTerm /*term*/, double seconds) { sum_ += seconds; }
  [[nodiscard]] double seconds() const { return sum_; }

 private:
  double sum_ = 0.0;
};

// The best of the pods that were offered: by cost, then index, kShortlistPods of them; of a policy
// of others the one pod that it picks. Where the request asks for an explanation, those cut off and
// the rejected follow. Lives for one call, on the stack.
class Shortlist {
 public:
  Shortlist(PickStage stage, const PickRequest& request);

  // `score_as` is called with what adds up the terms, and returns it: most pods are too dear for
  // their terms to matter.
  template <class ScoreAs>
  void offer(const PodSeen& pod, ScoreAs score_as) {
    if (kept_.size() == most_ && score_as(CostSum()).seconds() > kept_.front().score.seconds()) {
      return;
    }
    keep({pod, score_as(Score())});
  }
  void reject(const PodSeen& pod, std::string_view reason) { rejected_.push_back({pod, reason}); }

  // Once, when all were offered.
  [[nodiscard]] Candidates take();

 private:
  struct Scored {
    PodSeen pod;
    Score score;
  };
  struct Rejected {
    PodSeen pod;
    std::string_view reason;
  };
  static bool is_cheaper(const Scored& a, const Scored& b) {
    if (a.score.seconds() != b.score.seconds()) return a.score.seconds() < b.score.seconds();
    return (*a.pod.entry)->index < (*b.pod.entry)->index;
  }
  void keep(const Scored& scored);
  void put_chosen_first();

  const PickStage stage_;
  const PickRequest& request_;
  const bool predicts_;
  const std::size_t most_;  // to be kept; a heap of them has the dearest in front
  boost::container::small_vector<Scored, kShortlistPods> kept_;
  std::vector<Rejected> rejected_;
};

}  // namespace baton
