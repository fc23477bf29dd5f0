#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/ids.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/lease.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// What is sent for one piece: its header, and the body that it speaks of (none of a stale one).
struct PieceAnswer {
  wire::PieceHeader header;
  std::span<const std::byte> body;       // of the arena, where it is pinned, or of `packed`
  std::vector<std::byte> packed{};       // where slices are wanted
  std::optional<wire::Wanted> pinned{};  // to be unpinned when the body has been read
};

// Which blocks readers may have: those of the leases that are open, as they were published. Owned
// by the owner's half of a transport, used on the kv thread only.
class PublishedBlocks {
 public:
  explicit PublishedBlocks(BlockArena& arena) : arena_(arena) {}

  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks);
  void withdraw(TransferId transfer) { leases_.erase(transfer); }

  [[nodiscard]] std::size_t open_leases() const { return leases_.size(); }

  // The answer to a question; it may be that the block may not, or no longer, be read. Slices are
  // copied, since small chunks cost less so than one by one. Must not be moved while its body is
  // used.
  void answer(TransferId transfer, const wire::Wanted& wanted, const Slices& slices,
              PieceAnswer& into);
  // The body has been read.
  void let_go(const PieceAnswer& answer);

 private:
  [[nodiscard]] std::span<const std::byte> pin(TransferId transfer, const wire::Wanted& wanted);

  BlockArena& arena_;
  std::unordered_map<TransferId, std::vector<BlockDescriptor>> leases_;
};

}  // namespace baton::kv
