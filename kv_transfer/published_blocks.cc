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

void PublishedBlocks::answer(TransferId transfer, const wire::Wanted& wanted, const Slices& slices,
                             PieceAnswer& into) {
  into.header.tag = wanted.tag;
  into.header.index = wanted.index;
  into.header.generation = wanted.generation;
  into.body = pin(transfer, wanted);
  if (!into.body.empty()) into.pinned = wanted;
  if (slices != nullptr && into.pinned) {
    if (end_of(*slices) <= into.body.size()) {
      into.packed.resize(bytes_of(*slices));
      pack(*slices, into.body, into.packed);
      into.header.checksum = checksum_of(*slices, into.packed);
    }
    let_go(into);
    into.pinned.reset();
    into.body = into.packed;
  }
  into.header.bytes = static_cast<std::uint32_t>(into.body.size());
  if (into.body.empty()) into.header.status = wire::PieceStatus::kStale;
}

void PublishedBlocks::let_go(const PieceAnswer& answer) {
  if (answer.pinned) arena_.unpin({answer.pinned->slot, answer.pinned->generation});
}

}  // namespace baton::kv
