// What a C program does with the library, compiled as C11: one hand-off between two nodes, and the
// sizes of version 1 of every struct.
#include "tests/unit/kv_c_api/c11_program.h"

#include <stdio.h>
#include <string.h>

#include "kv_transfer/baton_kv.h"

_Static_assert(BATON_KV_ABI_VERSION == 1, "the sizes below are those of version 1");
_Static_assert(sizeof(baton_kv_node_options) >= 128, "structs only grow");
_Static_assert(sizeof(baton_kv_lease_options) >= 24, "structs only grow");
_Static_assert(sizeof(baton_kv_receive_options) >= 88, "structs only grow");
_Static_assert(sizeof(baton_kv_event) >= 440, "structs only grow");
_Static_assert(sizeof(baton_kv_slot_counts) >= 24, "structs only grow");
_Static_assert(sizeof(baton_kv_layout) >= 88, "structs only grow");
_Static_assert(sizeof(baton_kv_shape) >= 48, "structs only grow");
_Static_assert(sizeof(baton_kv_paged_layout) >= 48, "structs only grow");
_Static_assert(sizeof(baton_kv_dense_options) >= 24, "structs only grow");
_Static_assert(sizeof(baton_kv_copier_options) >= 16, "structs only grow");
_Static_assert(sizeof(baton_kv_copy) >= 64, "structs only grow");
_Static_assert(sizeof(baton_kv_slot) == 16, "never changes");
_Static_assert(sizeof(baton_kv_transfer_id) == 16, "never changes");
_Static_assert(sizeof(baton_kv_block) == 64, "never changes");
_Static_assert(sizeof(baton_kv_slice) == 16, "never changes");
_Static_assert(sizeof(baton_kv_part) == 16, "never changes");
_Static_assert(sizeof(baton_kv_placement) == 48, "never changes");
_Static_assert(sizeof(baton_kv_holder) == 24, "never changes");
_Static_assert(sizeof(baton_kv_run) == 64, "never changes");
_Static_assert(sizeof(baton_kv_region) == 16, "never changes");

#define TRY(call)                                                             \
  do {                                                                        \
    const baton_kv_status status_ = (call);                                   \
    if (status_ != BATON_KV_OK) {                                             \
      snprintf(why, room, "%s: %s: %s", #call, baton_kv_status_name(status_), \
               baton_kv_last_error());                                        \
      goto done;                                                              \
    }                                                                         \
  } while (0)

static baton_kv_node_options options_for(const char* engine) {
  const baton_kv_node_options options = {.struct_size = sizeof options,
                                         .engine_id = engine,
                                         .layout_hash = 7,
                                         .slot_bytes = 4096,
                                         .slots = 8};
  return options;
}

int c11_hand_off(char* why, size_t room) {
  baton_kv_node* producer = NULL;
  baton_kv_node* consumer = NULL;
  int right = 0;

  const baton_kv_node_options left = options_for("left");
  const baton_kv_node_options other = options_for("right");
  TRY(baton_kv_node_start(&left, &producer));
  TRY(baton_kv_node_start(&other, &consumer));

  baton_kv_slot slot;
  void* bytes = NULL;
  TRY(baton_kv_slot_allocate(producer, &slot));
  TRY(baton_kv_slot_address(producer, slot, &bytes));
  memset(bytes, 'b', 4096);
  baton_kv_block block;
  TRY(baton_kv_describe_block(producer, slot, 4096, 0, 64, &block));

  baton_kv_transfer_id transfer;
  TRY(baton_kv_draw_transfer_id(&transfer));
  TRY(baton_kv_lease_open(producer, transfer, NULL));
  TRY(baton_kv_lease_publish(producer, transfer, &block, 1));
  TRY(baton_kv_lease_seal(producer, transfer));
  TRY(baton_kv_slot_free(producer, slot));

  baton_kv_receive_options request = {
      .struct_size = sizeof request, .engine_id = "left", .transfer = transfer};
  TRY(baton_kv_node_address(producer, &request.peer, &request.epoch));
  uint64_t receive = 0;
  TRY(baton_kv_receive(consumer, &request, &receive));

  baton_kv_event event = {.struct_size = sizeof event};
  do {
    TRY(baton_kv_next_event(consumer, &event, 10000));
    if (event.kind == BATON_KV_EVENT_BLOCK) {
      TRY(baton_kv_slot_address(consumer, event.block.slot, &bytes));
      right = event.block.bytes == 4096 && ((char*)bytes)[0] == 'b' && ((char*)bytes)[4095] == 'b';
      TRY(baton_kv_slot_unpin(consumer, event.block.slot));
      TRY(baton_kv_slot_free(consumer, event.block.slot));
    }
  } while (event.kind != BATON_KV_EVENT_RECEIVE_END);
  if (event.status != BATON_KV_OK) {
    snprintf(why, room, "%s: %s", baton_kv_status_name(event.status), event.message);
    right = 0;
  }

done:
  baton_kv_node_free(consumer);
  baton_kv_node_free(producer);
  return right;
}
