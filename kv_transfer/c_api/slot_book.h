#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "kv_transfer/arena.h"
#include "kv_transfer/baton_kv.h"
#include "kv_transfer/c_api/guard.h"

namespace baton::kv::c_api {

// Which slots and pins of the arena are the program's, so that it can give back nothing else: a
// mistake is an error to it and no harm to the node's leases. Owned by a baton_kv_node; any thread.
class SlotBook {
 public:
  explicit SlotBook(std::size_t slots) : entries_(slots) {}

  [[nodiscard]] Outcome<SlotRef> allocate(BlockArena& arena);
  // A slot with one pin, handed over by a receive.
  void adopt(SlotRef slot);
  [[nodiscard]] Outcome<void> free(BlockArena& arena, SlotRef slot);
  [[nodiscard]] Outcome<void> pin(BlockArena& arena, SlotRef slot);
  [[nodiscard]] Outcome<void> unpin(BlockArena& arena, SlotRef slot);
  // Whether the program may look at its bytes: it has it or pinned it.
  [[nodiscard]] Outcome<void> check(SlotRef slot) const;
  // Whether it has it, not freed.
  [[nodiscard]] Outcome<void> check_owned(SlotRef slot) const;

 private:
  struct Entry {
    std::uint64_t generation = 0;
    std::uint32_t pins = 0;
    bool owned = false;
  };
  // Lock held.
  [[nodiscard]] Outcome<void> known(SlotRef slot) const;
  [[nodiscard]] Outcome<void> owned(SlotRef slot) const;

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // by slot
};

}  // namespace baton::kv::c_api
