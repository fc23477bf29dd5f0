#include "adapters/kv_events/event_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "adapters/kv_events/event_decoder.h"

namespace baton::adapters {
namespace {

using testing::ElementsAre;

class EveryEncoding : public testing::TestWithParam<KvEventEncoding> {};

TEST_P(EveryEncoding, IsReadBack) {
  KvBlocksStored first;
  first.blocks = {0xF122334455667788, 2};
  first.tokens = {1, 2, 3, 70000};
  first.block_tokens = 2;
  first.salt = "pepper";
  KvBlocksStored second = first;
  second.blocks = {9};
  second.parent = 0xF122334455667788;
  second.salt.clear();
  second.tokens = {5, 6};
  second.is_resident = false;
  KvBlocksRemoved removed;
  removed.blocks = {2, 9};
  const std::vector<KvEvent> events = {first, second, removed, KvBlocksCleared{}};

  const auto batch = decode_kv_events(encode_kv_events(events, 1.5, 2, GetParam()));
  ASSERT_TRUE(batch);
  ASSERT_EQ(batch->events.size(), 4U);
  const auto& a = std::get<KvBlocksStored>(batch->events[0]);
  EXPECT_EQ(a.blocks, first.blocks);
  EXPECT_EQ(a.parent, std::nullopt);
  EXPECT_EQ(a.tokens, first.tokens);
  EXPECT_EQ(a.block_tokens, 2U);
  EXPECT_EQ(a.salt, "pepper");
  EXPECT_EQ(a.plain_blocks, KvBlocksStored::kAll);
  EXPECT_TRUE(a.is_resident);
  const auto& b = std::get<KvBlocksStored>(batch->events[1]);
  EXPECT_EQ(b.parent, second.parent);
  EXPECT_FALSE(b.is_resident);
  EXPECT_EQ(std::get<KvBlocksRemoved>(batch->events[2]).blocks, removed.blocks);
  EXPECT_TRUE(std::holds_alternative<KvBlocksCleared>(batch->events[3]));
}

INSTANTIATE_TEST_SUITE_P(Encodings, EveryEncoding,
                         testing::Values(KvEventEncoding::kVllmMap, KvEventEncoding::kVllmBytes,
                                         KvEventEncoding::kVllmArray, KvEventEncoding::kSglang));

TEST(EventEncoder, AdapterAndGroupOfVllm) {
  KvBlocksStored event;
  event.blocks = {1, 2};
  event.tokens = {1, 2};
  event.block_tokens = 1;
  event.lora = "sql";
  event.salt = "pepper";
  event.group = 3;
  const std::vector<KvEvent> events = {event};
  for (const auto encoding : {KvEventEncoding::kVllmMap, KvEventEncoding::kVllmArray}) {
    const auto batch = decode_kv_events(encode_kv_events(events, 1.5, 0, encoding));
    ASSERT_TRUE(batch);
    const auto& read = std::get<KvBlocksStored>(batch->events.at(0));
    EXPECT_EQ(read.lora, "sql");
    EXPECT_EQ(read.salt, "pepper");
    EXPECT_EQ(read.group, 3U);
    EXPECT_EQ(read.plain_blocks, KvBlocksStored::kAll);
  }
}

}  // namespace
}  // namespace baton::adapters
