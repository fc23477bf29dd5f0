#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kv_transfer/baton_kv.h"

inline constexpr std::uint32_t kSlotBytes = 8192;
inline constexpr int kLimitMs = 10'000;  // a test waits for an event

struct FreeNode {
  void operator()(baton_kv_node* node) const { baton_kv_node_free(node); }
};
using NodePtr = std::unique_ptr<baton_kv_node, FreeNode>;

template <class Struct>
Struct zeroed() {
  Struct made{};
  made.struct_size = sizeof made;
  return made;
}

inline baton_kv_node_options node_options(const char* engine) {
  auto options = zeroed<baton_kv_node_options>();
  options.engine_id = engine;
  options.layout_hash = 7;
  options.slot_bytes = kSlotBytes;
  options.slots = 64;
  return options;
}

inline NodePtr started(const baton_kv_node_options& options) {
  baton_kv_node* node = nullptr;
  EXPECT_EQ(baton_kv_node_start(&options, &node), BATON_KV_OK) << baton_kv_last_error();
  return NodePtr(node);
}

// A call that must fail so, with a message that has this text.
#define EXPECT_REFUSED(call, expected, text)                                    \
  do {                                                                          \
    EXPECT_EQ(baton_kv_status{call}, baton_kv_status{expected});                \
    EXPECT_NE(std::string(baton_kv_last_error()).find(text), std::string::npos) \
        << baton_kv_last_error();                                               \
  } while (0)
#define ASSERT_OK(call) ASSERT_EQ(baton_kv_status{call}, BATON_KV_OK) << baton_kv_last_error()
#define EXPECT_OK(call) EXPECT_EQ(baton_kv_status{call}, BATON_KV_OK) << baton_kv_last_error()

inline baton_kv_slot allocated(baton_kv_node* node) {
  baton_kv_slot slot{};
  EXPECT_OK(baton_kv_slot_allocate(node, &slot));
  return slot;
}

inline unsigned char* bytes_of(baton_kv_node* node, baton_kv_slot slot) {
  void* address = nullptr;
  EXPECT_OK(baton_kv_slot_address(node, slot, &address));
  return static_cast<unsigned char*>(address);
}

// Block `index` of a prompt, whole slots of that number.
inline baton_kv_block filled_block(baton_kv_node* node, int index) {
  const baton_kv_slot slot = allocated(node);
  std::memset(bytes_of(node, slot), index + 1, kSlotBytes);
  baton_kv_block block{};
  EXPECT_OK(baton_kv_describe_block(node, slot, kSlotBytes, index * 64, 64, &block));
  return block;
}

inline baton_kv_transfer_id drawn_transfer() {
  baton_kv_transfer_id id{};
  EXPECT_OK(baton_kv_draw_transfer_id(&id));
  return id;
}

inline baton_kv_receive_options request_to(baton_kv_node* producer, const char* engine,
                                           baton_kv_transfer_id transfer) {
  auto request = zeroed<baton_kv_receive_options>();
  request.engine_id = engine;
  request.transfer = transfer;
  request.timeout_ms = kLimitMs;
  EXPECT_OK(baton_kv_node_address(producer, &request.peer, &request.epoch));
  return request;
}

// The next event; kind 0 where none comes.
inline baton_kv_event next_event(baton_kv_node* node, int limit_ms = kLimitMs) {
  auto event = zeroed<baton_kv_event>();
  if (baton_kv_next_event(node, &event, limit_ms) != BATON_KV_OK) event.kind = 0;
  return event;
}
