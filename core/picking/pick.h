#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_index.h"
#include "core/plan.h"
#include "core/pod.h"
#include "core/prompt_blocks.h"

namespace baton {

inline constexpr std::size_t kShortlistPods = 8;

// What both routers are asked: the request, in the terms that picking needs. Borrows; lives for one
// call.
struct PickRequest {
  const PromptBlocks& blocks;
  Tokens prompt{0};
  std::string_view lora;  // empty: the base model
  Tokens expected_output{0};
  std::span<const std::string> excluded;  // names of pods that this request may not use here
  bool explain = false;                   // keep rejected pods with their reasons
};

// What both routers decide from beside the snapshot. Borrows the shared tables of the process.
struct Picking {
  LoadTable& loads;
  const PrefixIndex& prefixes;
  LatencyModel model;
};

// The chain by which prefixes are matched and indexed: token blocks where ids are known, else text
// pieces.
[[nodiscard]] std::span<const std::uint64_t> prefix_chain(const PromptBlocks& blocks);

// Prompt tokens held by each of the snapshot's pods, at most prompt − 1: the last prompt token is
// always computed. `pods` are positions in the snapshot.
[[nodiscard]] std::vector<Tokens> cached_tokens(const PickRequest& request,
                                                const Snapshot& snapshot, const Picking& picking,
                                                TimePoint now);

// Why a pod cannot be chosen now, whatever the stage; empty: it can.
[[nodiscard]] std::string_view why_unusable(const PodEntry& entry, const PodLoad& load,
                                            std::span<const std::string> excluded);

// Usable candidates first, by cost then pod index, cut to kShortlistPods; those cut off and the
// rejected follow only where `explain` is set.
void finish_shortlist(std::vector<PlanCandidate>& candidates, bool explain);

}  // namespace baton
