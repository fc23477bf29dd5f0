#include "kv_transfer/slices.h"

#include <algorithm>
#include <cstring>

#include "kv_transfer/arena.h"

namespace baton::kv {

std::uint64_t bytes_of(std::span<const Slice> slices) {
  std::uint64_t bytes = 0;
  for (const Slice& slice : slices) bytes += std::uint64_t{slice.count} * slice.bytes;
  return bytes;
}

std::uint64_t chunks_of(std::span<const Slice> slices) {
  std::uint64_t chunks = 0;
  for (const Slice& slice : slices) chunks += slice.count;
  return chunks;
}

std::uint64_t end_of(std::span<const Slice> slices) {
  std::uint64_t end = 0;
  for (const Slice& slice : slices) {
    const std::uint64_t last = slice.count == 0 ? 0 : slice.count - 1;
    end = std::max(end, slice.offset + last * slice.stride + slice.bytes);
  }
  return end;
}

bool are_sound(std::span<const Slice> slices) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 32;  // so that no sum overflows
  const auto is_sound = [](const Slice& slice) {
    return slice.bytes > 0 && slice.count > 0 &&
           std::uint64_t{slice.count} * slice.bytes <= kMost &&
           std::uint64_t{slice.count} * slice.stride <= kMost;
  };
  return !slices.empty() && slices.size() <= kMaxSlices && std::ranges::all_of(slices, is_sound) &&
         bytes_of(slices) <= end_of(slices);
}

std::uint64_t checksum_of(std::span<const Slice> slices, std::span<const std::byte> packed) {
  return checksum_of(packed) ^ checksum_of(std::as_bytes(slices));
}

void pack(std::span<const Slice> slices, std::span<const std::byte> block,
          std::span<std::byte> into) {
  std::byte* to = into.data();
  for (const Slice& slice : slices) {
    const std::byte* from = block.data() + slice.offset;
    for (std::uint32_t i = 0; i < slice.count; ++i, from += slice.stride, to += slice.bytes) {
      std::memcpy(to, from, slice.bytes);
    }
  }
}

}  // namespace baton::kv
