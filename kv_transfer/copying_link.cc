#include "kv_transfer/copying_link.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace baton::kv {

void CopyingLink::fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) {
  queue_.add(terms, std::move(reads), std::move(done));
  take_turn_later();
}

std::unexpected<Error> CopyingLink::closed() {
  return fail(ErrorCode::kUnavailable, Stage::kHandoff, "the link was closed", true);
}

void CopyingLink::take_turn_later() {
  if (std::exchange(turn_is_due_, true)) return;
  boost::asio::post(*loop_, [self = shared_from_this()] { self->take_turn(); });
}

void CopyingLink::take_turn() {
  turn_is_due_ = false;
  for (std::size_t copied = 0; !queue_.empty() && copied < kTurnBytes;) {
    const std::vector<Piece> pieces = queue_.take(most_, kTurnBytes - copied);
    for (const Piece& piece : pieces) copied += piece.read->into.size();
    if (failed_) {
      for (const Piece& piece : pieces) piece.report(closed());
    } else {
      copy(pieces);
    }
  }
  if (!queue_.empty()) take_turn_later();
}

}  // namespace baton::kv
