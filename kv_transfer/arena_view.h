#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/arena_format.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// Another pod's arena, mapped read-only from its memfd. Owned by a shared-memory link on the kv
// thread. Promises: a read gives the bytes of the named generation or fails; the owner's death or
// misbehaviour can neither shrink nor unmap it.
class ArenaView {
 public:
  // Takes over `memfd`. Errors: kUnsupported where it is no sealed arena.
  [[nodiscard]] static Result<std::unique_ptr<ArenaView>> map(int memfd);
  ~ArenaView();
  ArenaView(const ArenaView&) = delete;
  ArenaView& operator=(const ArenaView&) = delete;

  // Copies the first bytes of a slot. Errors: kStale when the slot is not, or did not stay, in that
  // generation; kUpstream outside the arena.
  [[nodiscard]] Result<void> read(SlotRef ref, std::span<std::byte> into) const;
  // Copies slices of a block, whose checksum is verified where it lies. Errors also: kCorrupt.
  [[nodiscard]] Result<void> read(const BlockRead& read, const std::vector<Slice>& slices) const;

 private:
  ArenaView(const std::byte* base, const ArenaHeader& header) : base_(base), header_(header) {}

  // `copy` gets the bytes; false: they are not what they should be.
  template <class Copy>
  [[nodiscard]] Result<void> read(SlotRef ref, std::uint64_t bytes, Copy copy) const;

  const std::byte* const base_;
  const ArenaHeader header_;  // a copy: what lies in the memory may be changed by its owner
};

}  // namespace baton::kv
