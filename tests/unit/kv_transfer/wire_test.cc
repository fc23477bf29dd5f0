#include "kv_transfer/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "kv_transfer/wire_proto.h"

namespace baton::kv::wire {
namespace {

template <class Message>
std::vector<std::byte> bytes_of(const Message& message) {
  const std::string text = message.SerializeAsString();
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

template <class Struct>
std::vector<std::byte> raw(const Struct& value) {
  std::vector<std::byte> out(sizeof(value));
  std::memcpy(out.data(), &value, sizeof(value));
  return out;
}

TEST(Wire, AnEventComesBackAsItWas) {
  Published published{.first_index = 3, .blocks = {}};
  published.blocks.push_back({.first_token = 64,
                              .token_count = 64,
                              .slot = {9, 4},
                              .bytes = 100,
                              .checksum = 5,
                              .content_hash = 6});
  v1::FollowEvent message;
  encode(Event(published), message);
  const auto event = parse_event(bytes_of(message));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<Published>(*event).first_index, 3u);
  EXPECT_EQ(std::get<Published>(*event).blocks, published.blocks);
}

TEST(Wire, AnErrorKeepsItsCode) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::kUnsupported); ++code) {
    v1::FollowEvent message;
    encode(Event(Error{static_cast<ErrorCode>(code), Stage::kPrefill, "why", true}), message);
    const auto event = parse_event(bytes_of(message));
    ASSERT_TRUE(event.has_value());
    EXPECT_EQ(std::get<Error>(*event).code, static_cast<ErrorCode>(code));
    EXPECT_TRUE(std::get<Error>(*event).retryable);
  }
}

TEST(Wire, RefusesBlocksThatCannotBe) {
  const auto refused = [](auto&& change) {
    v1::FollowEvent message;
    v1::Block& block = *message.mutable_published()->add_blocks();
    block.set_token_count(64);
    block.set_generation(1);
    block.set_bytes(1);
    EXPECT_TRUE(parse_event(bytes_of(message)).has_value());
    change(*message.mutable_published(), block);
    return !parse_event(bytes_of(message)).has_value();
  };
  EXPECT_TRUE(refused([](auto&, v1::Block& b) { b.set_first_token(-1); }));
  EXPECT_TRUE(refused([](auto&, v1::Block& b) { b.set_token_count(0); }));
  EXPECT_TRUE(refused([](auto&, v1::Block& b) { b.set_generation(0); }));
  EXPECT_TRUE(refused([](auto&, v1::Block& b) { b.set_bytes(0); }));
  EXPECT_TRUE(refused([](v1::Published& p, v1::Block&) { p.set_first_index(UINT32_MAX); }));
  EXPECT_TRUE(refused([](v1::Published& p, v1::Block&) { p.clear_blocks(); }));
  EXPECT_TRUE(refused([](v1::Published& p, v1::Block&) {
    for (std::size_t i = 0; i < kMaxBlocksPerEvent; ++i) *p.add_blocks() = p.blocks(0);
  }));
}

TEST(Wire, NoticesASealThatChangedOnItsWay) {
  v1::FollowEvent message;
  encode(Event(Sealed{.terms = {.prompt_tokens = 100, .cached_tokens = 50}, .total_blocks = 2}),
         message);
  EXPECT_TRUE(parse_event(bytes_of(message)).has_value());
  message.mutable_sealed()->set_cached_tokens(51);
  const auto changed = parse_event(bytes_of(message));
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(changed.error().code, ErrorCode::kCorrupt);
}

TEST(Wire, RefusesWhatHasNoKind) {
  EXPECT_FALSE(parse_event({}).has_value());
  EXPECT_FALSE(parse_follow({}).has_value());
  EXPECT_FALSE(parse_release({}).has_value());
  EXPECT_FALSE(parse_hello({}).has_value());
  EXPECT_FALSE(parse_welcome({}).has_value());
}

TEST(Wire, ChecksTheHeadersOfActiveMessages) {
  const Wanted wanted{.tag = 1, .generation = 1, .slot = 2, .index = 3, .bytes = 4};
  EXPECT_TRUE(parse_fetch(raw(FetchHeader{.count = 1}), raw(wanted)).has_value());
  EXPECT_FALSE(parse_fetch(raw(FetchHeader{.count = 2}), raw(wanted)).has_value());
  EXPECT_FALSE(parse_fetch(raw(FetchHeader{.magic = 1, .count = 1}), raw(wanted)).has_value());
  EXPECT_FALSE(parse_fetch({}, raw(wanted)).has_value());
  EXPECT_FALSE(parse_fetch(raw(FetchHeader{.count = UINT32_MAX}), {}).has_value());

  EXPECT_TRUE(parse_piece(raw(PieceHeader{.bytes = 7}), 7).has_value());
  EXPECT_FALSE(parse_piece(raw(PieceHeader{.bytes = 7}), 8).has_value());
  EXPECT_FALSE(parse_piece(raw(PieceHeader{.bytes = 0}), 0).has_value());
  EXPECT_TRUE(parse_piece(raw(PieceHeader{.status = PieceStatus::kStale}), 0).has_value());
  EXPECT_FALSE(parse_piece(raw(PieceHeader{.status = PieceStatus::kStale}), 1).has_value());
  EXPECT_FALSE(parse_piece(raw(PieceHeader{.status = static_cast<PieceStatus>(9)}), 0).has_value());
}

}  // namespace
}  // namespace baton::kv::wire
