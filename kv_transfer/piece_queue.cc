#include "kv_transfer/piece_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "kv_transfer/arena.h"

namespace baton::kv {

Result<void> verify(const Piece& piece, std::uint64_t answered) {
  const std::vector<Slice>* slices = piece.slices();
  const std::uint64_t expected = slices == nullptr ? piece.read->remote.checksum : answered;
  if (slices == nullptr && expected == 0) return {};
  const std::span<const std::byte> came = piece.read->into;
  if ((slices == nullptr ? checksum_of(came) : checksum_of(*slices, came)) == expected) return {};
  return std::unexpected(corrupt(*piece.read));
}

Error corrupt(const BlockRead& read) {
  return {ErrorCode::kCorrupt, Stage::kHandoff,
          fmt::format("block {} does not have its checksum", read.index), true};
}

Error stale(const BlockRead& read) {
  return {ErrorCode::kStale, Stage::kHandoff,
          fmt::format("the producer no longer holds block {} in generation {}", read.index,
                      read.remote.slot.generation),
          true};
}

void PieceQueue::add(const FetchTerms& terms, std::vector<BlockRead> reads, Link::PieceDone done) {
  if (reads.empty()) return;
  pieces_ += reads.size();
  auto order = std::make_shared<const FetchOrder>(terms, std::move(reads), std::move(done));
  Ring& ring = classes_[terms.priority].ring;
  auto transfer = std::ranges::find(ring, terms.transfer, &Transfer::id);
  if (transfer == ring.end()) {
    transfer = ring.insert(ring.end(), {.id = terms.transfer, .orders = {}});
  }
  transfer->orders.push_back({.order = std::move(order), .next = 0});
}

std::vector<Piece> PieceQueue::take(std::size_t most, std::size_t bytes) {
  std::vector<Piece> taken;
  if (classes_.empty() || most == 0) return taken;
  const auto first = classes_.begin();
  Class& served = first->second;
  const auto transfer = served.urgent_turn ? most_urgent(served.ring) : served.ring.begin();
  served.urgent_turn = !served.urgent_turn;

  Waiting& waiting = transfer->orders.front();
  const auto& reads = waiting.order->reads;
  const std::size_t end = std::min(reads.size(), waiting.next + most);
  taken.reserve(end - waiting.next);
  for (std::size_t held = 0; waiting.next < end && held < bytes; ++waiting.next) {
    taken.push_back({.order = waiting.order, .read = &reads[waiting.next]});
    held += taken.back().read->into.size();
  }
  pieces_ -= taken.size();

  if (waiting.next == reads.size()) transfer->orders.pop_front();
  if (!transfer->orders.empty()) {
    served.ring.splice(served.ring.end(), served.ring, transfer);
  } else {
    served.ring.erase(transfer);
    if (served.ring.empty()) classes_.erase(first);
  }
  return taken;
}

std::vector<Piece> PieceQueue::take_all() {
  std::vector<Piece> all;
  all.reserve(pieces_);
  while (!empty()) std::ranges::move(take(pieces_, SIZE_MAX), std::back_inserter(all));
  return all;
}

PieceQueue::Ring::iterator PieceQueue::most_urgent(Ring& ring) {
  return std::ranges::min_element(ring, {}, [](const Transfer& transfer) {
    return transfer.orders.front().order->terms.deadline;
  });
}

}  // namespace baton::kv
