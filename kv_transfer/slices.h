#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace baton::kv {

// A part of a block: `count` chunks of `bytes`, the first at `offset`, each next one `stride` on.
struct Slice {
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
  std::uint32_t stride = 0;  // not used with one chunk
  std::uint32_t count = 1;
  bool operator==(const Slice&) const = default;
};
static_assert(sizeof(Slice) == 16);  // as it travels

inline constexpr std::size_t kMaxSlices = 1024;  // of a block

// What of each block is wanted, as the heads that a rank of another tensor-parallel size has. Null:
// the whole block.
using Slices = std::shared_ptr<const std::vector<Slice>>;

// The chunks of all slices together, in bytes.
[[nodiscard]] std::uint64_t bytes_of(std::span<const Slice> slices);
[[nodiscard]] std::uint64_t chunks_of(std::span<const Slice> slices);
// Where the furthest chunk ends: what a block must have at least.
[[nodiscard]] std::uint64_t end_of(std::span<const Slice> slices);
// At least one and at most kMaxSlices, none empty, and together no more than a block that ends
// where they do. They may come from a peer.
[[nodiscard]] bool are_sound(std::span<const Slice> slices);

// What goes with `packed` to whoever asked for the slices: of the bytes and of where they are from,
// since the question may have changed on its way, too.
[[nodiscard]] std::uint64_t checksum_of(std::span<const Slice> slices,
                                        std::span<const std::byte> packed);

// Copies the chunks one after the other. `block` has end_of() bytes at least, `into` bytes_of().
void pack(std::span<const Slice> slices, std::span<const std::byte> block,
          std::span<std::byte> into);

}  // namespace baton::kv
