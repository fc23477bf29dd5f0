#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::kv {

// One use of one slot: the slot's number and how often it had been handed out before. A reference
// to an earlier use is stale and never reaches the bytes of a later one.
struct SlotRef {
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;  // 1 and up; 0 names nothing
  auto operator<=>(const SlotRef&) const = default;
};

// Where KV blocks live on a pod: fixed-size slots in one memfd, at once the prefix cache, the
// staging of what is handed off and the landing place of what is received. Owned by the pod's Node;
// any thread may call it (one short lock, no I/O). Promises: a slot is given out to one use at a
// time, and its bytes stay what they are as long as it is pinned, even when it has been freed.
class BlockArena {
 public:
  struct Counts {
    int total = 0;
    int used = 0;         // allocated and not freed
    int pinned = 0;       // with at least one pin; part of `used` or of `quarantined`
    int quarantined = 0;  // freed, but still pinned by somebody who may read it
  };

  // Errors: kInvalidArgument for sizes that make no arena, kUnavailable where memory is short.
  [[nodiscard]] static Result<std::unique_ptr<BlockArena>> create(Bytes slot_bytes, int slots);
  ~BlockArena();
  BlockArena(const BlockArena&) = delete;
  BlockArena& operator=(const BlockArena&) = delete;

  // A slot of nobody, not pinned, contents undefined; none: every slot is used or quarantined.
  [[nodiscard]] std::optional<SlotRef> allocate();
  // Pins count. False: the reference is stale, and nothing was pinned. A freed slot takes no pins.
  [[nodiscard]] bool pin(SlotRef ref);
  // Another pin on a slot that somebody has pinned, for whom it goes on holding even if the slot
  // was freed meanwhile. False: nobody has.
  [[nodiscard]] bool pin_again(SlotRef ref);
  // Takes back one pin; the last one of a freed slot makes it allocatable.
  void unpin(SlotRef ref);
  // Gives the slot up. While it is pinned it waits in quarantine, then it is allocatable as another
  // generation. A stale reference is ignored, so freeing twice is harmless.
  void free(SlotRef ref);

  // The slot's bytes; empty for a stale reference. Only the one who allocated the slot writes, and
  // only before others know of it.
  [[nodiscard]] std::span<std::byte> bytes(SlotRef ref);
  [[nodiscard]] std::span<const std::byte> bytes(SlotRef ref) const;

  [[nodiscard]] Bytes slot_bytes() const { return Bytes(static_cast<std::int64_t>(slot_bytes_)); }
  [[nodiscard]] Counts counts() const;

  // For a transport that lends the arena to a reader on this host: the memfd, sealed so that nobody
  // else can map it writable or shrink it. Stays the arena's.
  [[nodiscard]] int memfd() const { return fd_; }
  // Where it is mapped: its ArenaHeader, and all that follows.
  [[nodiscard]] const std::byte* memory() const { return base_; }

 private:
  enum class Use : std::uint8_t { kFree, kUsed, kQuarantined };
  struct Slot {
    std::uint32_t pins = 0;
    Use use = Use::kFree;
  };

  BlockArena(int fd, std::byte* base, std::size_t slot_stride, int slots);
  [[nodiscard]] bool is_current(SlotRef ref) const;  // lock held
  void recycle(std::uint32_t slot);                  // lock held

  const int fd_;
  std::byte* const base_;  // an ArenaHeader, the generations, then the slots
  const std::size_t slot_bytes_;
  const std::size_t slot_stride_;
  const std::size_t first_slot_;
  mutable std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  int pinned_ = 0;
  int quarantined_ = 0;
};

// XXH3-64, the checksum that travels with every block and is verified where the block lands.
[[nodiscard]] std::uint64_t checksum_of(std::span<const std::byte> bytes);

}  // namespace baton::kv
