#pragma once

#include <cstdint>
#include <string_view>

#include "core/ids.h"
#include "core/units.h"
#include "kv_transfer/arena.h"

namespace baton::kv {

// The KV of the tokens [first_token, first_token + token_count), in one slot. Blocks are addressed
// by token position, never by count.
struct BlockDescriptor {
  std::int64_t first_token = 0;
  std::int32_t token_count = 0;
  SlotRef slot;
  std::uint32_t bytes = 0;         // used of the slot
  std::uint64_t checksum = 0;      // checksum_of() those bytes; 0: nobody verifies them
  std::uint64_t content_hash = 0;  // token chain hash; 0 for a partial block
  bool operator==(const BlockDescriptor&) const = default;
};

// A lease is a prefill pod's promise to keep the blocks of one transfer.
enum class LeaseState : std::uint8_t {
  kReserved,     // a reader waits for a transfer that was not opened yet
  kStreaming,    // blocks are published while prefill goes on
  kSealed,       // every block is there
  kCommitted,    // the reader has them all, or the router gave the lease back; ended
  kAborting,     // failed or given up; its reader has not been told yet
  kQuarantined,  // told, but the reader may still be copying
  kFreed,        // aborted and no longer pinned; ended
};
[[nodiscard]] std::string_view name_of(LeaseState state);
[[nodiscard]] constexpr bool has_ended(LeaseState state) {
  return state == LeaseState::kCommitted || state == LeaseState::kFreed;
}

}  // namespace baton::kv
