#pragma once

// What the copy kernels do, written once: nvcc (C++17) compiles it for GPUs, clang for the tests,
// which run a launch on the CPU thread by thread. The host builds the tables (copy_table.h).

#include <cstdint>

#ifdef __CUDACC__
#define BATON_HOST_DEVICE __host__ __device__
#else
#define BATON_HOST_DEVICE
#endif

namespace baton::kv::cuda {

// Equal chunks at equal distances: one CopyRun, or a part of one. Unit: what the kernel moves at a
// time, 1 to 16 bytes. Addresses and strides are multiples of it.
struct CopyEntry {
  std::uint64_t source = 0;  // address of the first chunk
  std::uint64_t target = 0;
  std::uint64_t source_stride = 0;  // bytes
  std::uint64_t target_stride = 0;
  std::uint64_t first_unit = 0;   // units of all entries before it in the launch
  std::uint32_t chunk_units = 0;  // of one chunk
  std::uint32_t units = 0;        // of all its chunks; never 0
};
static_assert(sizeof(CopyEntry) == 48, "host and device see one layout");

// What a launch gets: its entries by ascending first_unit, and the sum of their units.
struct CopyLaunch {
  const CopyEntry* entries = nullptr;
  std::uint64_t units = 0;
  std::uint32_t count = 0;
};

constexpr std::uint32_t kLanes = 32;  // of a warp
constexpr std::uint32_t kThreadsPerBlock = 256;
constexpr std::uint32_t kUnitsPerLane = 4;  // loaded before the first is stored
constexpr std::uint32_t kTileUnits = kLanes * kUnitsPerLane;

// How many thread blocks copy `units`, where `most` fill the device (each warp takes every so many
// tiles). Both at least 1.
BATON_HOST_DEVICE constexpr std::uint32_t blocks_for(std::uint64_t units, std::uint32_t most) {
  constexpr std::uint64_t kPerBlock = kTileUnits * (kThreadsPerBlock / kLanes);
  const std::uint64_t wanted = units / kPerBlock + (units % kPerBlock == 0 ? 0 : 1);
  return wanted < most ? static_cast<std::uint32_t>(wanted) : most;
}

// Which entry a unit of the launch belongs to.
BATON_HOST_DEVICE constexpr std::uint32_t entry_of(const CopyLaunch& launch, std::uint64_t unit) {
  std::uint32_t low = 0;
  std::uint32_t high = launch.count;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (launch.entries[middle].first_unit <= unit) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// What thread number `thread` of `threads` copies; whole warps. A warp takes tiles of kTileUnits;
// it looks up the entry of a tile's first unit and goes on to the next entries from there.
template <class Unit>
BATON_HOST_DEVICE void copy_as_thread(const CopyLaunch& launch, std::uint64_t thread,
                                      std::uint64_t threads) {
  const std::uint64_t lane = thread % kLanes;
  const std::uint64_t step = threads / kLanes * kTileUnits;
  for (std::uint64_t tile = thread / kLanes * kTileUnits; tile < launch.units; tile += step) {
    std::uint32_t index = entry_of(launch, tile);
    Unit held[kUnitsPerLane];
    std::uint64_t targets[kUnitsPerLane];
#pragma unroll
    for (std::uint32_t i = 0; i < kUnitsPerLane; ++i) {
      const std::uint64_t unit = tile + i * kLanes + lane;
      if (unit >= launch.units) continue;
      while (unit - launch.entries[index].first_unit >= launch.entries[index].units) ++index;
      const CopyEntry& entry = launch.entries[index];
      const auto within = static_cast<std::uint32_t>(unit - entry.first_unit);
      const std::uint32_t chunk = within / entry.chunk_units;
      const std::uint64_t offset =
          static_cast<std::uint64_t>(within - chunk * entry.chunk_units) * sizeof(Unit);
      held[i] = *reinterpret_cast<const Unit*>(entry.source + chunk * entry.source_stride + offset);
      targets[i] = entry.target + chunk * entry.target_stride + offset;
    }
#pragma unroll
    for (std::uint32_t i = 0; i < kUnitsPerLane; ++i) {
      if (tile + i * kLanes + lane < launch.units) *reinterpret_cast<Unit*>(targets[i]) = held[i];
    }
  }
}

// The unit of 16 bytes; those of 8, 4, 2 and 1 are integers.
struct alignas(16) Unit16 {
  std::uint64_t low;
  std::uint64_t high;
};

// The kernels by width: F(bytes, type of unit, name in the module).
#define BATON_COPY_KERNELS(F)                             \
  F(16, ::baton::kv::cuda::Unit16, baton_strided_copy_16) \
  F(8, std::uint64_t, baton_strided_copy_8)               \
  F(4, std::uint32_t, baton_strided_copy_4)               \
  F(2, std::uint16_t, baton_strided_copy_2)               \
  F(1, std::uint8_t, baton_strided_copy_1)

}  // namespace baton::kv::cuda
