#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/picking/policy.h"
#include "core/picking/prefix_index.h"
#include "core/picking/prompt_holders.h"
#include "core/plan.h"
#include "core/pod.h"
#include "core/prompt_blocks.h"
#include "core/units.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

struct PlanRequest {
  PromptBlocks blocks;
  Tokens prompt{0};  // exact or estimated
  std::string lora;  // empty: the base model
  Tokens expected_output{128};
  SloConfig slo{};
  Duration waited{};  // since the request came, for the verdict
  Split split = Split::kAuto;
  std::string refuses_split;  // the connector's reason (Connector::refuses_split); empty: none
  bool decode_needs_handoff = false;           // Connector::decode_needs_handoff
  bool caches_are_told = false;                // by the pods, in events of what they keep and drop
  std::size_t known_pieces = 0;                // of the text, whose token blocks are known
  std::shared_ptr<const PodEntry> prefill_on;  // keeps the prompt's KV already; null: to be picked
  bool decode_is_tentative = false;            // it is picked again when the prompt is computed
  std::vector<std::string> excluded_prefill;   // names of pods that already failed this request
  std::vector<std::string> excluded_decode;
  bool explain = false;
};

// A planned request's share of its pods' load; destruction returns it.
struct PlanAccount {
  LoadTicket prefill;  // not open where the plan is decode-only
  LoadTicket decode;
};

// Chooses the pods of one request: a pair, or one pod that does both stages. Owned by an io thread
// (or a simulation); borrows the process's tables, which outlive it. plan() is pure: it reads no
// clock, draws nothing of its own and changes nothing.
class Planner {
 public:
  Planner(LoadTable& loads, PrefixIndex& prefixes, const LatencyModel& model)
      : loads_(loads), prefixes_(prefixes), model_(model) {}

  // Of each stage. With one of others' in either, a prompt is split wherever it can be.
  void set_policies(Policy prefill, Policy decode) {
    prefill_policy_ = prefill;
    decode_policy_ = decode;
  }

  // Errors: kUnavailable (retryable) with the stage for which no pod passed the filters, and how
  // many were turned down for what.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request, const Snapshot& snapshot,
                                  TimePoint now, std::uint64_t tie_seed) const;

  // Adds the plan's work to its pods, so that the next pick sees it, and believes the prompt's
  // prefix held there for kBeliefTime.
  [[nodiscard]] PlanAccount commit(const Plan& plan, const PlanRequest& request, TimePoint now);

  // The plan came to nothing: what commit() was the first to believe of its pods is believed no
  // more, so that another try does not count on it.
  void withdraw(const Plan& plan, const PlanRequest& request);

  // The prompt was computed on the plan's pods: its prefix is held there. Where the pods tell their
  // caches themselves this is believed for a minute, for the case that they do not after all.
  void confirm(const Plan& plan, const PlanRequest& request, TimePoint now);

 private:
  LoadTable& loads_;
  PrefixIndex& prefixes_;
  const LatencyModel& model_;
  mutable PromptHolders holders_;  // room to plan in
  Policy prefill_policy_ = Policy::kPredicted;
  Policy decode_policy_ = Policy::kPredicted;
  std::uint64_t prefill_turn_ = 0;  // picks that were committed and stood
  std::uint64_t decode_turn_ = 0;
};

}  // namespace baton::orchestrator
