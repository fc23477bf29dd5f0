#include "kv_transfer/published_blocks.h"

namespace baton::kv {

void PublishedBlocks::publish(TransferId transfer, std::span<const BlockDescriptor> blocks) {
  auto& all = leases_[transfer];
  all.insert(all.end(), blocks.begin(), blocks.end());
}

std::span<const std::byte> PublishedBlocks::pin(TransferId transfer, const wire::Wanted& wanted) {
  const auto lease = leases_.find(transfer);
  if (lease == leases_.end() || wanted.index >= lease->second.size()) return {};
  const BlockDescriptor& block = lease->second[wanted.index];
  const SlotRef slot{wanted.slot, wanted.generation};
  // A slot that was freed and waits for the lease's pin may still be read: that is what the pin is
  // for. So the lease decides, and the arena only confirms that the pin is good.
  if (block.slot != slot || block.bytes != wanted.bytes || !arena_.pin_again(slot)) return {};
  return arena_.bytes(slot).first(wanted.bytes);
}

std::vector<std::byte> PublishedBlocks::pack(std::span<const std::byte> block,
                                             const std::vector<Slice>& slices,
                                             wire::PieceHeader& header) const {
  if (end_of(slices) > block.size()) return {};
  std::vector<std::byte> packed(bytes_of(slices));
  kv::pack(slices, block, packed);
  header.checksum = checksum_of(slices, packed);
  return packed;
}

}  // namespace baton::kv
