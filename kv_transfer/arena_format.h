#pragma once

#include <cstddef>
#include <cstdint>

namespace baton::kv {

// The beginning of an arena's memfd, as a reader on the same host finds it. Behind it lie one
// 64-bit generation per slot, then, from `first_slot`, the slots themselves.
struct ArenaHeader {
  static constexpr std::uint64_t kMagic = 0x314152414e544142;  // "BATNARA1" in memory
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kAlign = 64;

  std::uint64_t magic = kMagic;
  std::uint64_t slots = 0;
  std::uint64_t slot_bytes = 0;
  std::uint64_t slot_stride = 0;
  std::uint64_t first_slot = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t reserved[2] = {};

  [[nodiscard]] static constexpr ArenaHeader describe(std::uint64_t slot_bytes,
                                                      std::uint64_t slots) {
    ArenaHeader header;
    header.slots = slots;
    header.slot_bytes = slot_bytes;
    header.slot_stride = round_up(slot_bytes, kAlign);
    header.first_slot = round_up(sizeof(ArenaHeader) + slots * sizeof(std::uint64_t), kPage);
    header.file_bytes = header.first_slot + round_up(slots * header.slot_stride, kPage);
    return header;
  }
  bool operator==(const ArenaHeader&) const = default;

 private:
  [[nodiscard]] static constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) {
    return (n + to - 1) / to * to;
  }
};
static_assert(sizeof(ArenaHeader) == 64);

}  // namespace baton::kv
