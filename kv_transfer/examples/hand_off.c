// One hand-off of KV between two nodes. Here both are in one process; as a rule the producer is an
// engine that computes prompts, the consumer one that decodes, and peer, epoch and transfer id are
// carried from one to the other by whoever sent the request to both.
#include <baton_kv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(baton_kv_status status) {
  if (status == BATON_KV_OK) return;
  fprintf(stderr, "%s: %s\n", baton_kv_status_name(status), baton_kv_last_error());
  exit(1);
}

static baton_kv_node* start(const char* engine_id) {
  // All zero but for the size and what is set: zero is the default everywhere.
  baton_kv_node_options options = {.struct_size = sizeof options};
  options.engine_id = engine_id;
  options.layout_hash = 1;  // of baton_kv_layout_hash(), where there is a model
  options.slot_bytes = 65536;
  options.slots = 16;
  baton_kv_node* node = NULL;
  check(baton_kv_node_start(&options, &node));
  return node;
}

// Publishes four blocks of 16 tokens as they are computed, then says that there are no more.
static void produce(baton_kv_node* node, baton_kv_transfer_id transfer) {
  check(baton_kv_lease_open(node, transfer, NULL));
  for (int i = 0; i < 4; ++i) {
    baton_kv_slot slot;
    void* bytes = NULL;
    baton_kv_block block;
    check(baton_kv_slot_allocate(node, &slot));
    check(baton_kv_slot_address(node, slot, &bytes));
    memset(bytes, 'a' + i, 65536);  // prefill
    check(baton_kv_describe_block(node, slot, 65536, i * 16, 16, &block));
    check(baton_kv_lease_publish(node, transfer, &block, 1));
    check(baton_kv_slot_free(node, slot));  // the lease keeps it until the consumer has it
  }
  check(baton_kv_lease_seal(node, transfer));
}

static void consume(baton_kv_node* node, const baton_kv_receive_options* request) {
  uint64_t receive = 0;
  check(baton_kv_receive(node, request, &receive));
  baton_kv_event event = {.struct_size = sizeof event};
  for (;;) {
    check(baton_kv_next_event(node, &event, 10000));
    if (event.kind == BATON_KV_EVENT_BLOCK) {
      void* bytes = NULL;
      check(baton_kv_slot_address(node, event.block.slot, &bytes));
      printf("tokens from %lld on: %c\n", (long long)event.block.first_token, *(char*)bytes);
      check(baton_kv_slot_unpin(node, event.block.slot));
      check(baton_kv_slot_free(node, event.block.slot));
    } else if (event.kind == BATON_KV_EVENT_RECEIVE_END) {
      if (event.status != BATON_KV_OK) {
        fprintf(stderr, "%s: %s\n", baton_kv_status_name(event.status), event.message);
        exit(1);
      }
      printf("%llu bytes by %s in %.3f ms\n", (unsigned long long)event.bytes, event.transport,
             event.seconds * 1e3);
      return;
    }
  }
}

int main(void) {
  baton_kv_node* producer = start("producer");
  baton_kv_node* consumer = start("consumer");
  baton_kv_receive_options request = {.struct_size = sizeof request, .engine_id = "producer"};
  check(baton_kv_draw_transfer_id(&request.transfer));
  check(baton_kv_node_address(producer, &request.peer, &request.epoch));

  produce(producer, request.transfer);
  consume(consumer, &request);

  baton_kv_node_free(consumer);
  baton_kv_node_free(producer);
  return 0;
}
