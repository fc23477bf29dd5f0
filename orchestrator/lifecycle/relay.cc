#include "orchestrator/lifecycle/relay.h"

#include <utility>

namespace baton::orchestrator {

Task<RelayResult> relay(std::string_view begun, http::ClientExchange* pod, http::Exchange* client,
                        StreamWatch* watch, CachedTokensFilter* filter,
                        std::function<void()> on_first_event) {
  std::string_view piece = begun;
  for (;;) {
    if (filter != nullptr) piece = filter->feed(piece);
    if (!piece.empty()) {
      watch->feed(piece);
      if (on_first_event && watch->events() > 0) std::exchange(on_first_event, nullptr)();
      if (!co_await client->write(piece)) co_return RelayResult{RelayEnd::kClientLeft, {}};
    }
    auto next = co_await pod->read_some();
    if (!next) {
      const bool cancelled = next.error().code == ErrorCode::kCancelled;
      co_return RelayResult{cancelled ? RelayEnd::kClientLeft : RelayEnd::kPodFailed,
                            std::move(next.error())};
    }
    if (next->empty()) break;
    piece = *next;
  }
  if (filter != nullptr && !filter->rest().empty()) {
    watch->feed(filter->rest());
    if (!co_await client->write(filter->rest())) co_return RelayResult{RelayEnd::kClientLeft, {}};
  }
  co_return RelayResult{RelayEnd::kWhole, {}};
}

}  // namespace baton::orchestrator
