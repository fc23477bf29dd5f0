#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "kv_transfer/copy_plan.h"
#include "kv_transfer/cuda/strided_copy.h"

namespace baton::kv::cuda {

// Memory that the device reaches by this address: its own, or pinned memory of the host.
struct Region {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

// Entries of one width, which one launch copies.
struct CopyBatch {
  std::uint32_t width = 0;  // bytes of a unit: 16, 8, 4, 2 or 1
  std::uint32_t first_entry = 0;
  std::uint32_t entries = 0;
  std::uint64_t units = 0;
};

// What is uploaded for the kernels, widest units first.
struct CopyTable {
  std::vector<CopyEntry> entries;
  std::vector<CopyBatch> batches;
  std::uint64_t bytes = 0;  // that it copies
};

// Of one entry, so that the kernels divide 32-bit numbers.
inline constexpr std::uint32_t kMostUnits = 1U << 31;

// The table of runs between registered regions (by number). Each run moves in the widest units that
// its addresses, strides and bytes allow; runs of more than `most_units` are cut. Source and target
// must not overlap. Errors: kInvalidArgument, naming a run that is not within its regions.
[[nodiscard]] Result<CopyTable> copy_table(std::span<const CopyRun> runs,
                                           std::span<const Region> sources,
                                           std::span<const Region> targets,
                                           std::uint32_t most_units = kMostUnits);

// Runs by way of a contiguous staging buffer (region 0 of what `pack` writes and `unpack` reads):
// both sides make the same of one plan, so the packed bytes need no description. No gaps; runs that
// allow the widest units lie first, so that packing narrows none.
struct StagedRuns {
  std::vector<CopyRun> pack;
  std::vector<CopyRun> unpack;
  std::uint64_t bytes = 0;  // of the buffer
};
[[nodiscard]] StagedRuns through_staging(std::span<const CopyRun> runs);

}  // namespace baton::kv::cuda
