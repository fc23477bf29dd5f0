#include "kv_transfer/c_api/block.h"
#include "kv_transfer/c_api/handle.h"

using namespace baton::kv;  // NOLINT: the C API lives outside the namespaces
using namespace baton::kv::c_api;

extern "C" {

baton_kv_status baton_kv_slot_allocate(baton_kv_node* node, baton_kv_slot* slot) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    if (slot == nullptr) return null("slot");
    const auto allocated = handle.book.allocate(running.arena());
    if (!allocated) return std::unexpected(allocated.error());
    *slot = slot_to_c(*allocated);
    return {};
  });
}

baton_kv_status baton_kv_slot_free(baton_kv_node* node, baton_kv_slot slot) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) {
    return handle.book.free(running.arena(), slot_of(slot));
  });
}

baton_kv_status baton_kv_slot_pin(baton_kv_node* node, baton_kv_slot slot) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) {
    return handle.book.pin(running.arena(), slot_of(slot));
  });
}

baton_kv_status baton_kv_slot_unpin(baton_kv_node* node, baton_kv_slot slot) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) {
    return handle.book.unpin(running.arena(), slot_of(slot));
  });
}

baton_kv_status baton_kv_slot_address(baton_kv_node* node, baton_kv_slot slot, void** address) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    if (address == nullptr) return null("address");
    if (auto good = handle.book.check(slot_of(slot)); !good) return good;
    *address = running.arena().bytes(slot_of(slot)).data();
    return {};
  });
}

baton_kv_status baton_kv_slot_counts_of(baton_kv_node* node, baton_kv_slot_counts* counts) {
  return with_node(node, [&](baton_kv_node&, Node& running) {
    const BlockArena::Counts now = running.arena().counts();
    baton_kv_slot_counts found{};
    found.total = static_cast<uint32_t>(now.total);
    found.used = static_cast<uint32_t>(now.used);
    found.pinned = static_cast<uint32_t>(now.pinned);
    found.quarantined = static_cast<uint32_t>(now.quarantined);
    return write(found, counts, "baton_kv_slot_counts");
  });
}
}
