#include "adapters/kv_events/event_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/kv_events/recorded_events.h"

namespace baton::adapters {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kFirst = 0x1122334455667788;
constexpr std::uint64_t kSecond = 0xF122334455667789;

std::vector<KvEvent> events_of(std::string_view hex) {
  auto batch = decode_kv_events(from_hex(hex));
  EXPECT_TRUE(batch);
  if (!batch) return {};
  EXPECT_EQ(batch->unknown_events, 0U);
  return std::move(batch->events);
}

const KvBlocksStored& stored(const std::vector<KvEvent>& events, std::size_t i) {
  return std::get<KvBlocksStored>(events.at(i));
}
const KvBlocksRemoved& removed(const std::vector<KvEvent>& events, std::size_t i) {
  return std::get<KvBlocksRemoved>(events.at(i));
}

class VllmEvents : public testing::TestWithParam<std::string_view> {};

TEST_P(VllmEvents, AreReadInBothEncodings) {
  const auto events = events_of(GetParam());
  ASSERT_EQ(events.size(), 4U);
  EXPECT_THAT(stored(events, 0).blocks, ElementsAre(kFirst, kSecond));
  EXPECT_EQ(stored(events, 0).parent, std::nullopt);
  EXPECT_THAT(stored(events, 0).tokens, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(stored(events, 0).block_tokens, 4U);
  EXPECT_TRUE(stored(events, 0).is_resident);
  EXPECT_EQ(stored(events, 0).plain_blocks, KvBlocksStored::kAll);
  EXPECT_THAT(stored(events, 1).blocks, ElementsAre(7U));
  EXPECT_EQ(stored(events, 1).parent, kSecond);
  EXPECT_THAT(stored(events, 1).tokens, ElementsAre(9, 10, 11, 70000));
  EXPECT_THAT(removed(events, 2).blocks, ElementsAre(7U));
  EXPECT_EQ(removed(events, 2).group, 0U);
  EXPECT_TRUE(std::holds_alternative<KvBlocksCleared>(events[3]));
}

INSTANTIATE_TEST_SUITE_P(Encodings, VllmEvents, testing::Values(kVllmMap, kVllmArray));

TEST(EventDecoder, TakesHashesOfBytesForTheIntegersThatTheyEndWith) {
  const auto events = events_of(kVllmBytes);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_THAT(stored(events, 0).blocks, ElementsAre(kFirst, kSecond));
  EXPECT_THAT(removed(events, 1).blocks, ElementsAre(kSecond));
  EXPECT_EQ(removed(events, 1).group, 1U);
}

TEST(EventDecoder, ReadsAdapterAndSalt) {
  const auto events = events_of(kVllmSaltLora);
  EXPECT_EQ(stored(events, 0).lora, "sql");
  EXPECT_EQ(stored(events, 0).salt, "pepper");
  EXPECT_EQ(stored(events, 0).plain_blocks, KvBlocksStored::kAll);
}

TEST(EventDecoder, MarksBlocksThatDependOnAnImage) {
  EXPECT_EQ(stored(events_of(kVllmImage), 0).plain_blocks, 1U);
}

TEST(EventDecoder, ReadsSglangsEventsAndMedia) {
  const auto events = events_of(kSglang);
  ASSERT_EQ(events.size(), 5U);
  const auto minus_five = static_cast<std::uint64_t>(-5);
  EXPECT_THAT(stored(events, 0).blocks, ElementsAre(minus_five));
  EXPECT_EQ(stored(events, 1).parent, minus_five);
  EXPECT_EQ(stored(events, 1).block_tokens, 2U);
  EXPECT_FALSE(stored(events, 2).is_resident);
  EXPECT_THAT(removed(events, 3).blocks, ElementsAre(minus_five, 6U));
  EXPECT_TRUE(removed(events, 3).is_resident);
  EXPECT_EQ(removed(events, 3).group, std::nullopt);
}

TEST(EventDecoder, ReadsTheSaltOfATrailingMap) {
  EXPECT_EQ(stored(events_of(kSglangSalt), 0).salt, "pepper");
}

TEST(EventDecoder, PairsOfTokensAreNoPrompt) {
  EXPECT_EQ(stored(events_of(kSglangBigram), 0).plain_blocks, 0U);
}

std::string text(std::string_view value) {  // fixstr
  return static_cast<char>(0xa0 | value.size()) + std::string(value);
}
// [0, [event]]
std::string batch_of(const std::string& event) { return std::string("\x92\x00\x91", 3) + event; }

TEST(EventDecoder, PassesOverEventsAndMembersThatItDoesNotKnow) {
  // An unknown type whose members are deep, then a known one with an unknown member.
  const std::string unknown = "\x92" + text("Defragmented") + "\x91\x91\x81" + text("a") + "\xc0";
  const std::string known = "\x83" + text("new") + "\x91\x01" + text("type") +
                            text("BlockRemoved") + text("block_hashes") + "\x91\x05";
  const auto batch = decode_kv_events(std::string("\x93\x00\x92", 3) + unknown + known + "\x81" +
                                      text("more") + "\x01");
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->unknown_events, 1U);
  ASSERT_EQ(batch->events.size(), 1U);
  EXPECT_THAT(removed(batch->events, 0).blocks, ElementsAre(5U));
}

TEST(EventDecoder, AnAdapterWithoutANameIsNotTheBaseModel) {
  const auto batch = decode_kv_events(batch_of(
      "\x97" + text("BlockStored") + "\x91\x05\xc0\x94\x01\x02\x03\x04\x04\x01" + text("GPU")));
  ASSERT_TRUE(batch);
  EXPECT_EQ(stored(batch->events, 0).plain_blocks, 0U);
}

TEST(EventDecoder, TwoKeysOfAFirstBlockAreNoSalt) {
  const auto batch = decode_kv_events(batch_of(
      "\x84" + text("type") + text("BlockStored") + text("block_hashes") + "\x91\x05" +
      text("block_size") + "\x04" + text("extra_keys") + "\x91\x92" + text("a") + text("b")));
  ASSERT_TRUE(batch);
  EXPECT_EQ(stored(batch->events, 0).plain_blocks, 0U);
  EXPECT_THAT(stored(batch->events, 0).salt, IsEmpty());
}

TEST(EventDecoder, RefusesWhatIsNoBatch) {
  const std::string good = from_hex(kVllmMap);
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(decode_kv_events(good.substr(0, length))) << length;
  }
  EXPECT_FALSE(decode_kv_events("\x91\x01"));                               // one member
  EXPECT_FALSE(decode_kv_events("\x92\x01\x01"));                           // events are a number
  EXPECT_FALSE(decode_kv_events(batch_of("\x01")));                         // an event is a number
  EXPECT_FALSE(decode_kv_events(batch_of("\x90")));                         // an event is empty
  EXPECT_FALSE(decode_kv_events(batch_of("\x81" + text("typ") + "\x01")));  // it has no type
  EXPECT_FALSE(decode_kv_events(batch_of("\x92" + text("BlockRemoved") + "\x01")));
  EXPECT_FALSE(decode_kv_events(batch_of("\x92" + text("BlockRemoved") + "\x91\xc3")));
  EXPECT_FALSE(decode_kv_events(batch_of("\xc1")));
  // Lengths beyond the payload, which must not be reserved.
  EXPECT_FALSE(decode_kv_events(std::string_view("\xdd\xff\xff\xff\xff", 5)));
  EXPECT_FALSE(decode_kv_events(batch_of("\x92" + text("BlockRemoved") + "\xdd\xff\xff\xff\xff")));
  EXPECT_FALSE(decode_kv_events(batch_of("\x92" + text("Other") + "\xdf\xff\xff\xff\xff")));
}

}  // namespace
}  // namespace baton::adapters
