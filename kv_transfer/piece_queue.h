#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/units.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// One call of Link::fetch(). Shared by its pieces until the last of them has been reported.
struct FetchOrder {
  FetchTerms terms;
  std::vector<BlockRead> reads;
  Link::PieceDone done;
};

// One piece of an order.
struct Piece {
  std::shared_ptr<const FetchOrder> order;
  const BlockRead* read = nullptr;  // of order->reads

  void report(Result<void> result) const { order->done(read->index, std::move(result)); }
  [[nodiscard]] const std::vector<Slice>* slices() const { return order->terms.slices.get(); }
};

// Whether the piece that has come is what was published: `answered` is the checksum that the owner
// made of its slices. kCorrupt: it is not.
[[nodiscard]] Result<void> verify(const Piece& piece, std::uint64_t answered);
// Of a block that the owner no longer holds, and of one that came without its checksum.
[[nodiscard]] Error stale(const BlockRead& read);
[[nodiscard]] Error corrupt(const BlockRead& read);

// What a link has still to ask for, of all the transfers that read over it. Pure. Promises: of the
// priorities that wait the largest is served first; within one, every other turn goes to the
// transfer with the earliest deadline and the rest go round, so that neither a large transfer nor
// an urgent one holds up the others; the pieces of one transfer keep their order.
class PieceQueue {
 public:
  // Costs the same for any number of reads.
  void add(const FetchTerms& terms, std::vector<BlockRead> reads, Link::PieceDone done);
  [[nodiscard]] bool empty() const { return pieces_ == 0; }
  [[nodiscard]] std::size_t size() const { return pieces_; }

  // The pieces of one turn, all of one order: as many as there are, up to `most`, and no more once
  // they have `bytes`. Not empty unless the queue is.
  [[nodiscard]] std::vector<Piece> take(std::size_t most, std::size_t bytes);
  // All that is left, for a link that gives up.
  [[nodiscard]] std::vector<Piece> take_all();

 private:
  struct Waiting {
    std::shared_ptr<const FetchOrder> order;
    std::size_t next = 0;  // of order->reads
  };
  struct Transfer {
    TransferId id;
    std::deque<Waiting> orders;
  };
  using Ring = std::list<Transfer>;
  struct Class {
    Ring ring;  // the next one in front
    bool urgent_turn = true;
  };

  [[nodiscard]] static Ring::iterator most_urgent(Ring& ring);

  std::map<int, Class, std::greater<>> classes_;  // by priority; none is empty
  std::size_t pieces_ = 0;
};

}  // namespace baton::kv
