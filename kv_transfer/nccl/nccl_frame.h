#pragma once

#include <cstdint>

#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/wire.h"

// What goes over the control connection of the nccl transport beside the questions of the tcp
// transport: little-endian structs.
namespace baton::kv::wire {

// What the owner answers to a token.
struct NcclWelcome {
  PieceHeader header{.status = PieceStatus::kWelcome};  // `tag`: the version of its NCCL
  nccl::UniqueId id{};                                  // by which the reader joins as rank 1
};

// Comes before the headers of some pieces, whose bodies travel as one row of bytes over the
// communicator, cut into chunks of kNcclChunkBytes.
struct PackHeader {
  static constexpr std::uint32_t kMagic = 0x314b4642;  // "BFK1"
  std::uint32_t magic = kMagic;
  std::uint32_t count = 0;  // of headers, 1 to kMaxWanted
  std::uint64_t bytes = 0;  // of the bodies; 0 where every piece is stale
};
static_assert(sizeof(NcclWelcome) == 168 && sizeof(PackHeader) == 16);

}  // namespace baton::kv::wire
