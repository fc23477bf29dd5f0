#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/picking/policy.h"
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
  std::string_view lora{};  // empty: the base model
  Tokens expected_output{0};
  bool whole = false;                 // one pod does both stages: asked of the decode router alone
  bool decode_needs_handoff = false;  // such a pod must have the role `both`
  std::span<const std::string> excluded{};  // names of pods that this request may not use here
  bool explain = false;                     // keep rejected pods with their reasons
  double stream_weight = 1.0;          // what a second of streaming costs in seconds of waiting
  Policy policy = Policy::kPredicted;  // of the stage; one of others' picks a single pod
  std::uint64_t turn = 0;              // counts the stage's picks
  std::uint64_t seed = 0;
};

// What both routers decide from beside the snapshot. Borrows the shared tables of the process.
struct Picking {
  LoadTable& loads;
  const PrefixIndex& prefixes;
  const LatencyModel& model;
};

// A chain by which prefixes are matched and indexed, and the prompt tokens that an element of it
// stands for; a fraction for pieces of text.
struct PrefixChain {
  std::span<const std::uint64_t> elements;
  double tokens_each = 0.0;
};
// The text's and the tokens'. Either may be empty, and that of the tokens end before the prompt.
[[nodiscard]] std::array<PrefixChain, 2> prefix_chains(const PromptBlocks& blocks, Tokens prompt);

// Prompt tokens held by each of `pods` (PodEntry::index), in their order, by the chain that says
// more; at most prompt − 1 each: the last prompt token is always computed.
[[nodiscard]] std::vector<Tokens> cached_tokens(const PickRequest& request,
                                                std::span<const std::uint32_t> pods,
                                                const Picking& picking, TimePoint now);

// Why a pod cannot be chosen now, whatever the stage; empty: it can.
[[nodiscard]] std::string_view why_unusable(const PodEntry& entry, const PodLoad& load,
                                            const PickRequest& request);

// A cost and the terms it is the sum of, without memory of its own: a thousand pods are scored for
// one request.
struct Score {
  struct Term {
    const char* name = "";
    double seconds = 0.0;
  };
  std::array<Term, 7> terms;
  std::size_t count = 0;
  double cost_seconds = 0.0;

  void add(const char* name, double seconds) {
    terms[count++] = {name, seconds};
    cost_seconds += seconds;
  }
};

// What makes the two routers different: whom they ask, and what it costs.
struct StagePolicy {
  PickStage stage;
  bool (*has_role)(Role role);
  Score (*score)(const PodEntry& entry, const PodLoad& load, Tokens cached,
                 const PickRequest& request, const LatencyModel& model, TimePoint now);
};

// Of a second that the later tokens take, beside one until the first: it is spread over the stream,
// which is read more slowly than it comes. A stop of a stream ("harm") counts whole.
inline constexpr double kPaceWeight = 0.2;

// Seconds until the pod has computed the prompts that are in flight to it.
[[nodiscard]] double queue_seconds(std::uint32_t pod, const PodLoad& load,
                                   const LatencyModel& model, TimePoint now);
// Seconds until the pod has room for so much more KV: its streams end one after another and give
// theirs back, each after `stream_seconds`. 0 where its capacity is unknown.
[[nodiscard]] double room_seconds(const PodState& state, const PodLoad& load, Tokens more,
                                  double stream_seconds);
// What computing a prompt does to the streams of the pod: each waits for so long, once.
[[nodiscard]] double harm_seconds(std::uint32_t pod, const PodLoad& load, Tokens cached,
                                  Tokens uncached, const LatencyModel& model);

// filter → score → shortlist: usable pods by cost, then index, cut to kShortlistPods; of a policy
// of others the one pod that it picks. Where the request asks for an explanation, those cut off and
// the rejected follow.
[[nodiscard]] std::vector<PlanCandidate> shortlist_by(const StagePolicy& policy,
                                                      const PickRequest& request,
                                                      const Snapshot& snapshot,
                                                      const Picking& picking, TimePoint now);

}  // namespace baton
