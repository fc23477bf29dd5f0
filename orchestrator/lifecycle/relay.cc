#include "orchestrator/lifecycle/relay.h"

#include <utility>

namespace baton::orchestrator {

Task<RelayResult> relay(std::string_view begun, http::ClientExchange* pod, http::Exchange* client,
                        StreamWatch* watch) {
  if (!begun.empty()) {
    watch->feed(begun);
    if (!co_await client->write(begun)) co_return RelayResult{RelayEnd::kClientLeft, {}};
  }
  for (;;) {
    auto piece = co_await pod->read_some();
    if (!piece) {
      const bool cancelled = piece.error().code == ErrorCode::kCancelled;
      co_return RelayResult{cancelled ? RelayEnd::kClientLeft : RelayEnd::kPodFailed,
                            std::move(piece.error())};
    }
    if (piece->empty()) co_return RelayResult{RelayEnd::kWhole, {}};
    watch->feed(*piece);
    const auto written = co_await client->write(*piece);
    if (!written) co_return RelayResult{RelayEnd::kClientLeft, {}};
  }
}

}  // namespace baton::orchestrator
