#include "kv_transfer/c_api/slot_book.h"

#include <fmt/format.h>

namespace baton::kv::c_api {
namespace {

std::string name_of(SlotRef slot) {
  return fmt::format("slot {} of generation {}", slot.slot, slot.generation);
}

}  // namespace

Outcome<void> SlotBook::known(SlotRef slot) const {
  if (slot.slot >= entries_.size()) {
    return failed(BATON_KV_STALE, fmt::format("{} is no slot of this node, which has {}: pass what "
                                              "baton_kv_slot_allocate() or an event of this node "
                                              "gave",
                                              name_of(slot), entries_.size()));
  }
  const Entry& entry = entries_[slot.slot];
  if (entry.generation == slot.generation && (entry.owned || entry.pins > 0)) return {};
  return failed(BATON_KV_STALE, fmt::format("{} is not the program's any more, or never was: it "
                                            "has been freed and unpinned",
                                            name_of(slot)));
}

Outcome<void> SlotBook::owned(SlotRef slot) const {
  if (auto good = known(slot); !good) return good;
  if (entries_[slot.slot].owned) return {};
  return failed(BATON_KV_STALE,
                name_of(slot) + " was freed already: only its pins are left to give back");
}

Outcome<SlotRef> SlotBook::allocate(BlockArena& arena) {
  std::lock_guard lock(mutex_);
  const auto slot = arena.allocate();
  if (!slot) {
    return failed(BATON_KV_NO_SLOT,
                  fmt::format("all {} slots are used, or still being read: free some, or start the "
                              "node with more slots",
                              entries_.size()));
  }
  entries_[slot->slot] = {.generation = slot->generation, .pins = 0, .owned = true};
  return *slot;
}

void SlotBook::adopt(SlotRef slot) {
  std::lock_guard lock(mutex_);
  entries_[slot.slot] = {.generation = slot.generation, .pins = 1, .owned = true};
}

Outcome<void> SlotBook::free(BlockArena& arena, SlotRef slot) {
  std::lock_guard lock(mutex_);
  if (auto good = owned(slot); !good) return good;
  entries_[slot.slot].owned = false;
  arena.free(slot);
  return {};
}

Outcome<void> SlotBook::pin(BlockArena& arena, SlotRef slot) {
  std::lock_guard lock(mutex_);
  if (auto good = known(slot); !good) return good;
  Entry& entry = entries_[slot.slot];
  const bool pinned = entry.owned ? arena.pin(slot) : arena.pin_again(slot);
  if (!pinned) return failed(BATON_KV_STALE, name_of(slot) + " cannot be pinned any more");
  ++entry.pins;
  return {};
}

Outcome<void> SlotBook::unpin(BlockArena& arena, SlotRef slot) {
  std::lock_guard lock(mutex_);
  if (auto good = known(slot); !good) return good;
  Entry& entry = entries_[slot.slot];
  if (entry.pins == 0) {
    return failed(BATON_KV_STALE, name_of(slot) +
                                      " has no pin of the program's: unpin once for "
                                      "each baton_kv_slot_pin() and each block that "
                                      "arrived");
  }
  --entry.pins;
  arena.unpin(slot);
  return {};
}

Outcome<void> SlotBook::check(SlotRef slot) const {
  std::lock_guard lock(mutex_);
  return known(slot);
}

Outcome<void> SlotBook::check_owned(SlotRef slot) const {
  std::lock_guard lock(mutex_);
  return owned(slot);
}

}  // namespace baton::kv::c_api
