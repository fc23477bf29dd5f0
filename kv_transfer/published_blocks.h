#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/ids.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/lease.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// Which blocks readers may have: those of the leases that are open, as they were published. Owned
// by the owner's half of a transport, used on the kv thread only.
class PublishedBlocks {
 public:
  explicit PublishedBlocks(BlockArena& arena) : arena_(arena) {}

  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks);
  void withdraw(TransferId transfer) { leases_.erase(transfer); }

  [[nodiscard]] std::size_t open_leases() const { return leases_.size(); }

  // The bytes of a block that was asked for, with one pin that is now the caller's; empty: it may
  // not, or no longer, be read.
  [[nodiscard]] std::span<const std::byte> pin(TransferId transfer, const wire::Wanted& wanted);
  // What is sent of a pinned block where slices are wanted of it, copied; its checksum goes into
  // `header`. Empty: the block does not have them.
  [[nodiscard]] std::vector<std::byte> pack(std::span<const std::byte> block,
                                            const std::vector<Slice>& slices,
                                            wire::PieceHeader& header) const;
  void unpin(const wire::Wanted& wanted) { arena_.unpin({wanted.slot, wanted.generation}); }

 private:
  BlockArena& arena_;
  std::unordered_map<TransferId, std::vector<BlockDescriptor>> leases_;
};

}  // namespace baton::kv
