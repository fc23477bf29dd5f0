#pragma once

#include <functional>

#include "orchestrator/lifecycle/cached_tokens.h"
#include "orchestrator/lifecycle/stream_watch.h"
#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// How a relayed body ended.
enum class RelayEnd : std::uint8_t { kWhole, kPodFailed, kClientLeft };

struct RelayResult {
  RelayEnd end = RelayEnd::kClientLeft;
  Error error;  // of the pod's side
};

// Passes `begun` and then the rest of a pod's answer to the client as its bytes come, through
// `filter` unless it is null; reads on only when the client took what came before. Does not finish
// the client's side. `on_first_event` is called once `watch` has seen one. All arguments outlive
// the coroutine; honours cancellation.
[[nodiscard]] Task<RelayResult> relay(std::string_view begun, http::ClientExchange* pod,
                                      http::Exchange* client, StreamWatch* watch,
                                      CachedTokensFilter* filter,
                                      std::function<void()> on_first_event);

}  // namespace baton::orchestrator
