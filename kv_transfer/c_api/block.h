#pragma once

#include "kv_transfer/baton_kv.h"
#include "kv_transfer/lease.h"

namespace baton::kv::c_api {

[[nodiscard]] inline baton_kv_slot slot_to_c(SlotRef slot) {
  return {.generation = slot.generation, .index = slot.slot, .reserved = 0};
}
[[nodiscard]] inline SlotRef slot_of(const baton_kv_slot& slot) {
  return {.slot = slot.index, .generation = slot.generation};
}
[[nodiscard]] inline TransferId transfer_of(const baton_kv_transfer_id& id) {
  return {id.high, id.low};
}

[[nodiscard]] inline baton_kv_block block_to_c(const BlockDescriptor& block) {
  return {.first_token = block.first_token,
          .slot = slot_to_c(block.slot),
          .token_count = block.token_count,
          .bytes = block.bytes,
          .checksum = block.checksum,
          .content_hash = block.content_hash,
          .reserved = {0, 0}};
}
[[nodiscard]] inline BlockDescriptor block_of(const baton_kv_block& block) {
  return {.first_token = block.first_token,
          .token_count = block.token_count,
          .slot = slot_of(block.slot),
          .bytes = block.bytes,
          .checksum = block.checksum,
          .content_hash = block.content_hash};
}

}  // namespace baton::kv::c_api
