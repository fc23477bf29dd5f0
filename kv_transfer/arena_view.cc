#include "kv_transfer/arena_view.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace baton::kv {
namespace {

constexpr std::uint64_t kMostSlots = 1u << 24;

std::unexpected<Error> no_arena(const char* why) {
  return fail(ErrorCode::kUnsupported, Stage::kHandoff,
              fmt::format("the peer's shared memory is no KV arena: {}", why));
}

// The size of a memfd that nobody can shrink any more; 0: it is none.
std::uint64_t sealed_size(int fd) {
  struct stat info{};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || ::fstat(fd, &info) != 0) return 0;
  return static_cast<std::uint64_t>(info.st_size);
}

bool is_sound(const ArenaHeader& header, std::uint64_t file_bytes) {
  return header.magic == ArenaHeader::kMagic && header.slots > 0 && header.slots <= kMostSlots &&
         header.slot_bytes > 0 && header.slot_bytes <= UINT32_MAX &&
         header == ArenaHeader::describe(header.slot_bytes, header.slots) &&
         header.file_bytes == file_bytes;
}

}  // namespace

Result<std::unique_ptr<ArenaView>> ArenaView::map(int memfd) {
  const std::uint64_t size = sealed_size(memfd);
  if (size < sizeof(ArenaHeader)) {
    ::close(memfd);
    return no_arena("it is too small or not sealed");
  }
  void* base = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, memfd, 0);
  ::close(memfd);
  if (base == MAP_FAILED) return no_arena("it cannot be mapped");
  ArenaHeader header;
  std::memcpy(&header, base, sizeof(header));
  if (!is_sound(header, size)) {
    ::munmap(base, size);
    return no_arena("its header does not describe it");
  }
  return std::unique_ptr<ArenaView>(new ArenaView(static_cast<const std::byte*>(base), header));
}

ArenaView::~ArenaView() { ::munmap(const_cast<std::byte*>(base_), header_.file_bytes); }

template <class Copy>
Result<void> ArenaView::read(SlotRef ref, std::uint64_t bytes, Copy copy) const {
  if (ref.slot >= header_.slots || bytes > header_.slot_bytes) {
    return fail(ErrorCode::kUpstream, Stage::kHandoff,
                fmt::format("slot {} or {} bytes lie outside the peer's arena", ref.slot, bytes),
                true);
  }
  const auto& generation =
      reinterpret_cast<const std::atomic<std::uint64_t>*>(base_ + sizeof(ArenaHeader))[ref.slot];
  const bool was_current = generation.load(std::memory_order_acquire) == ref.generation;
  bool is_good = true;
  if (was_current) {
    is_good = copy(std::span(base_ + header_.first_slot + ref.slot * header_.slot_stride, bytes));
    std::atomic_thread_fence(std::memory_order_acquire);
  }
  if (!was_current || generation.load(std::memory_order_relaxed) != ref.generation) {
    return fail(ErrorCode::kStale, Stage::kHandoff,
                fmt::format("slot {} holds another generation than {}", ref.slot, ref.generation),
                true);
  }
  if (is_good) return {};
  return fail(ErrorCode::kCorrupt, Stage::kHandoff,
              fmt::format("slot {} does not have its checksum", ref.slot), true);
}

Result<void> ArenaView::read(SlotRef ref, std::span<std::byte> into) const {
  return read(ref, into.size(), [into](std::span<const std::byte> block) {
    std::memcpy(into.data(), block.data(), block.size());
    return true;
  });
}

Result<void> ArenaView::read(const BlockRead& read, const std::vector<Slice>& slices) const {
  const BlockDescriptor& remote = read.remote;
  if (end_of(slices) > remote.bytes || bytes_of(slices) != read.into.size()) {
    return fail(
        ErrorCode::kInvalidArgument, Stage::kHandoff,
        fmt::format("the slices do not lie within block {} of {} bytes", read.index, remote.bytes));
  }
  return this->read(remote.slot, remote.bytes, [&](std::span<const std::byte> block) {
    if (remote.checksum != 0 && checksum_of(block) != remote.checksum) return false;
    pack(slices, block, read.into);
    return true;
  });
}

}  // namespace baton::kv
