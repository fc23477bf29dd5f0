#pragma once

#include <string>

#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// Where the pool's pods tell their caches in token blocks, and not all of a text prompt is known in
// ids yet: asks a pod for them, beside the request, which is planned by what is known already. The
// next prompt that begins alike is then matched by token blocks (core/picking/chain_bindings.h).
// At most kOpenLookups of a thread and pool are under way; after a failure there is none for
// kLookupPause. On the thread of the context.
void learn_tokens(ThreadContext& context, PoolContext& pool, const OpenAiRequest& request,
                  const PlanRequest& wanted);

inline constexpr int kOpenLookups = 4;
inline constexpr Duration kLookupPause = std::chrono::seconds(5);

}  // namespace baton::orchestrator
