#pragma once

#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// The routes of the data port, and the whole life of a request (docs/life-of-a-request.md). The
// handler of an http::Server on the context's thread; answers each exchange exactly once, whatever
// fails.
[[nodiscard]] Task<void> handle(ThreadContext& context, http::Exchange& exchange);

}  // namespace baton::orchestrator
