#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kv_transfer/loop.h"
#include "kv_transfer/piece_queue.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// A link whose reader copies by itself, out of memory on its own host: in turns of the kv thread,
// so that control messages wait at most some 100 µs.
class CopyingLink : public Link, public std::enable_shared_from_this<CopyingLink> {
 public:
  static constexpr std::size_t kTurnBytes = 1 << 20;

  void fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) final;
  [[nodiscard]] bool failed() const final { return failed_; }
  void close() final { failed_ = true; }

 protected:
  // At most `most` pieces, of one transfer, are copied by one call of copy().
  CopyingLink(Loop loop, std::size_t most) : loop_(std::move(loop)), most_(most) {}

  // Copies and reports each of them. Not called once the link has failed, but a report may close
  // it.
  virtual void copy(std::span<const Piece> pieces) = 0;
  [[nodiscard]] static std::unexpected<Error> closed();
  void fail_from_now_on() { failed_ = true; }

 private:
  void take_turn_later();
  void take_turn();

  const Loop loop_;
  const std::size_t most_;
  PieceQueue queue_;
  bool turn_is_due_ = false;
  bool failed_ = false;
};

}  // namespace baton::kv
