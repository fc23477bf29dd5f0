#include "kv_transfer/arena.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the widest vectors that the processor has; the sums are the same
#endif

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "kv_transfer/arena_format.h"

namespace baton::kv {
namespace {

constexpr std::size_t kMaxSlots = 1u << 24;

// The header and its generations stay mapped as long as the arena, so a plain reference will do.
std::atomic<std::uint64_t>* generations_of(std::byte* base) {
  return reinterpret_cast<std::atomic<std::uint64_t>*>(base + sizeof(ArenaHeader));
}

}  // namespace

Result<std::unique_ptr<BlockArena>> BlockArena::create(Bytes slot_bytes, int slots) {
  if (slot_bytes.count() <= 0 || slots <= 0 || static_cast<std::size_t>(slots) > kMaxSlots ||
      slot_bytes.count() > std::numeric_limits<std::uint32_t>::max()) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                fmt::format("a KV arena of {} slots of {} bytes cannot be: give 1 to {} slots of 1 "
                            "byte to 4 GiB",
                            slots, slot_bytes.count(), kMaxSlots));
  }
  const auto count = static_cast<std::uint64_t>(slots);
  const ArenaHeader header =
      ArenaHeader::describe(static_cast<std::uint64_t>(slot_bytes.count()), count);
  const auto out_of_memory = [&](const char* what) {
    return fail(ErrorCode::kUnavailable, Stage::kConfig,
                fmt::format("KV arena of {} bytes: {} failed ({}); lower the number of KV blocks",
                            header.file_bytes, what, std::strerror(errno)));
  };
  const int fd = ::memfd_create("baton-kv-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return out_of_memory("memfd_create");
  void* base = MAP_FAILED;
  if (::ftruncate(fd, static_cast<off_t>(header.file_bytes)) == 0) {
    base = ::mmap(nullptr, header.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (base == MAP_FAILED ||
      ::fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
          0) {
    auto failure = out_of_memory("mapping or sealing");
    if (base != MAP_FAILED) ::munmap(base, header.file_bytes);
    ::close(fd);
    return failure;
  }
  // All pages now: touched one by one later, they would cost a prompt of 2,048 tokens 3 ms, and a
  // lack of memory would end the process. Kernels before 5.14 cannot, and do it later.
  if (::madvise(base, header.file_bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
    auto failure = out_of_memory("taking the memory");
    ::munmap(base, header.file_bytes);
    ::close(fd);
    return failure;
  }
  std::memcpy(base, &header, sizeof(header));
  return std::unique_ptr<BlockArena>(
      new BlockArena(fd, static_cast<std::byte*>(base), header.slot_stride, slots));
}

BlockArena::BlockArena(int fd, std::byte* base, std::size_t slot_stride, int slots)
    : fd_(fd),
      base_(base),
      slot_bytes_(reinterpret_cast<const ArenaHeader*>(base)->slot_bytes),
      slot_stride_(slot_stride),
      first_slot_(reinterpret_cast<const ArenaHeader*>(base)->first_slot),
      slots_(static_cast<std::size_t>(slots)) {
  free_slots_.reserve(slots_.size());
  for (std::size_t i = slots_.size(); i-- > 0;) {
    new (generations_of(base_) + i) std::atomic<std::uint64_t>(1);
    free_slots_.push_back(static_cast<std::uint32_t>(i));
  }
}

BlockArena::~BlockArena() {
  ::munmap(base_, reinterpret_cast<const ArenaHeader*>(base_)->file_bytes);
  ::close(fd_);
}

std::optional<SlotRef> BlockArena::allocate() {
  std::lock_guard lock(mutex_);
  if (free_slots_.empty()) return std::nullopt;
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot].use = Use::kUsed;
  return SlotRef{slot, generations_of(base_)[slot].load(std::memory_order_relaxed)};
}

bool BlockArena::pin(SlotRef ref) {
  std::lock_guard lock(mutex_);
  if (!is_current(ref) || slots_[ref.slot].use != Use::kUsed) return false;
  if (slots_[ref.slot].pins++ == 0) ++pinned_;
  return true;
}

bool BlockArena::pin_again(SlotRef ref) {
  std::lock_guard lock(mutex_);
  if (!is_current(ref) || slots_[ref.slot].pins == 0) return false;
  ++slots_[ref.slot].pins;
  return true;
}

void BlockArena::unpin(SlotRef ref) {
  std::lock_guard lock(mutex_);
  if (!is_current(ref) || slots_[ref.slot].pins == 0) std::abort();  // a pin given back twice
  Slot& slot = slots_[ref.slot];
  if (--slot.pins > 0) return;
  --pinned_;
  if (slot.use != Use::kQuarantined) return;
  --quarantined_;
  recycle(ref.slot);
}

void BlockArena::free(SlotRef ref) {
  std::lock_guard lock(mutex_);
  if (!is_current(ref) || slots_[ref.slot].use != Use::kUsed) return;
  if (slots_[ref.slot].pins == 0) {
    recycle(ref.slot);
  } else {
    slots_[ref.slot].use = Use::kQuarantined;
    ++quarantined_;
  }
}

std::span<std::byte> BlockArena::bytes(SlotRef ref) {
  std::lock_guard lock(mutex_);
  if (!is_current(ref)) return {};
  return {base_ + first_slot_ + ref.slot * slot_stride_, slot_bytes_};
}

std::span<const std::byte> BlockArena::bytes(SlotRef ref) const {
  return const_cast<BlockArena*>(this)->bytes(ref);
}

BlockArena::Counts BlockArena::counts() const {
  std::lock_guard lock(mutex_);
  const int total = static_cast<int>(slots_.size());
  return {.total = total,
          .used = total - static_cast<int>(free_slots_.size()) - quarantined_,
          .pinned = pinned_,
          .quarantined = quarantined_};
}

bool BlockArena::is_current(SlotRef ref) const {
  return ref.slot < slots_.size() && slots_[ref.slot].use != Use::kFree &&
         generations_of(base_)[ref.slot].load(std::memory_order_relaxed) == ref.generation;
}

void BlockArena::recycle(std::uint32_t slot) {
  slots_[slot].use = Use::kFree;
  // A reader in another process must see the new generation before any byte of the next use.
  generations_of(base_)[slot].fetch_add(1, std::memory_order_acq_rel);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  free_slots_.push_back(slot);
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace baton::kv
