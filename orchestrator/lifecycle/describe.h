#pragma once

#include <cstdint>
#include <string>

#include "orchestrator/lifecycle/leg_policy.h"
#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// What the planner has to know of a request: its prompt as blocks, its length in tokens (exact
// where the client sent ids, else by the pool's learned ratio), the answer it is likely to want.
[[nodiscard]] PlanRequest describe(const OpenAiRequest& request, const PoolContext& pool,
                                   const std::string& lora, bool explain);

// The same of a prompt of which nothing but its length is known.
[[nodiscard]] PlanRequest describe_size(Tokens prompt, const PoolContext& pool,
                                        const std::string& lora);

// Plans within the scope that the policy asks for. `previous` is the plan whose hand-off stands
// where the scope is kSamePrefill. kAnyPod clears the exclusions of `wanted`.
[[nodiscard]] Result<Plan> plan_in_scope(const PoolContext& pool, PlanRequest& wanted,
                                         PlanScope scope, const Plan& previous, TimePoint now,
                                         std::uint64_t tie_seed);

}  // namespace baton::orchestrator
