#include "orchestrator/lifecycle/describe.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace baton::orchestrator {
namespace {

constexpr Tokens kUsualBlock{64};

Tokens block_tokens(const Snapshot& snapshot) {
  const Tokens told = block_tokens_of(snapshot);
  return told.count() > 0 ? told : kUsualBlock;
}

// Every pod but the one whose blocks are to be used again.
std::vector<std::string> all_but(const Snapshot& snapshot, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : snapshot.pods) {
    if (entry->pod.name != name) names.push_back(entry->pod.name);
  }
  return names;
}

// What the pool says of every request.
void describe_pool(PlanRequest& wanted, const PoolContext& pool, const std::string& lora) {
  wanted.lora = lora;
  wanted.caches_are_told = publishes_kv_events(pool.config);
  wanted.expected_output = pool.outputs.expected();
  wanted.split = pool.config.split;
  wanted.slo = pool.config.slo;
  wanted.decode_needs_handoff = pool.connector.decode_needs_handoff();
}

}  // namespace

PlanRequest describe_size(Tokens prompt, const PoolContext& pool, const std::string& lora) {
  PlanRequest wanted;
  wanted.prompt = prompt;
  describe_pool(wanted, pool, lora);
  return wanted;
}

PlanRequest describe(const OpenAiRequest& request, const PoolContext& pool, const std::string& lora,
                     bool explain) {
  PlanRequest wanted;
  if (request.prompt_ids.empty()) {
    wanted.blocks = PromptBlocks::from_text(request.canonical_text, request.cache_salt, lora);
    const double tokens = static_cast<double>(wanted.blocks.text_bytes) / pool.bytes_per_token;
    wanted.prompt = Tokens(std::max<std::int64_t>(1, static_cast<std::int64_t>(tokens)));
    if (pool.bindings != nullptr && !request.prompt_is_batch) {
      wanted.known_pieces =
          pool.bindings->complete(pool.text_space, wanted.blocks, block_tokens_of(*pool.snapshot));
    }
  } else {
    wanted.blocks = PromptBlocks::from_tokens(request.prompt_ids, block_tokens(*pool.snapshot),
                                              request.cache_salt, lora);
    wanted.prompt = Tokens(static_cast<std::int64_t>(request.prompt_ids.size()));
  }
  describe_pool(wanted, pool, lora);
  // Clients ask for far more than they get, so that max_tokens is a bound and no estimate.
  const std::int64_t learned = wanted.expected_output.count();
  wanted.expected_output = Tokens(std::min(request.max_tokens.value_or(learned), learned));
  wanted.refuses_split = pool.connector.refuses_split(request);
  wanted.explain = explain;
  return wanted;
}

Result<Plan> plan_in_scope(const PoolContext& pool, PlanRequest& wanted, PlanScope scope,
                           const Plan& previous, TimePoint now, std::uint64_t tie_seed) {
  const Snapshot& snapshot = *pool.snapshot;
  switch (scope) {
    case PlanScope::kAfresh: break;
    case PlanScope::kPair: {
      const Split split = std::exchange(wanted.split, Split::kAlways);
      Result<Plan> plan = pool.planner.plan(wanted, snapshot, now, tie_seed);
      wanted.split = split;
      if (plan && plan->kind != PlanKind::kSplit) {
        return fail(ErrorCode::kUnavailable, Stage::kPrefill, "no other pair can take it", true);
      }
      return plan;
    }
    case PlanScope::kAnyPod:
      wanted.excluded_prefill.clear();
      wanted.excluded_decode.clear();
      break;
    case PlanScope::kSamePrefill: {
      auto excluded =
          std::exchange(wanted.excluded_prefill, all_but(snapshot, previous.prefill->pod.name));
      const Split split = std::exchange(wanted.split, Split::kAlways);
      Result<Plan> plan = pool.planner.plan(wanted, snapshot, now, tie_seed);
      wanted.excluded_prefill = std::move(excluded);
      wanted.split = split;
      if (plan && plan->kind != PlanKind::kSplit) {
        return fail(ErrorCode::kUnavailable, Stage::kDecode,
                    "no other decode pod can take the hand-off", true);
      }
      if (plan) plan->prefill = previous.prefill;  // as it was when the hand-off began
      return plan;
    }
    case PlanScope::kDecodeOnly: {
      const Split split = std::exchange(wanted.split, Split::kNever);
      Result<Plan> plan = pool.planner.plan(wanted, snapshot, now, tie_seed);
      wanted.split = split;
      if (plan && Seconds(plan->predicted_ttft_seconds) > pool.config.timeouts.first_byte) {
        return fail(ErrorCode::kUnavailable, Stage::kPrefill,
                    "no decode pod could compute the prompt in time", true);
      }
      return plan;
    }
  }
  return pool.planner.plan(wanted, snapshot, now, tie_seed);
}

}  // namespace baton::orchestrator
