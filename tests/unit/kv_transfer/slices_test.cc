#include "kv_transfer/slices.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <vector>

namespace baton::kv {
namespace {

TEST(Slices, CountsWhatTheyCover) {
  const std::vector<Slice> slices{{.offset = 100, .bytes = 10, .stride = 50, .count = 3},
                                  {.offset = 0, .bytes = 7}};
  EXPECT_EQ(bytes_of(slices), 37U);
  EXPECT_EQ(chunks_of(slices), 4U);
  EXPECT_EQ(end_of(slices), 210U);
  EXPECT_TRUE(are_sound(slices));
}

TEST(Slices, AChecksumIsOfWhatWasAskedForToo) {
  const std::vector<std::byte> zeros(64);
  const std::array asked{Slice{.offset = 128, .bytes = 64}};
  const std::array answered{Slice{.offset = 192, .bytes = 64}};
  EXPECT_EQ(checksum_of(asked, zeros), checksum_of(asked, zeros));
  EXPECT_NE(checksum_of(asked, zeros), checksum_of(answered, zeros));
}

TEST(Slices, RefusesThoseThatAreNone) {
  EXPECT_FALSE(are_sound({}));
  EXPECT_FALSE(are_sound(std::array{Slice{.bytes = 0}}));
  EXPECT_FALSE(are_sound(std::array{Slice{.bytes = 1, .count = 0}}));
  EXPECT_FALSE(are_sound(std::vector<Slice>(kMaxSlices + 1, Slice{.bytes = 1})));
  // More bytes than the block that ends there: the same ones again and again.
  EXPECT_FALSE(are_sound(std::array{Slice{.bytes = 8, .stride = 0, .count = 1U << 28}}));
  EXPECT_FALSE(are_sound(std::array{Slice{.bytes = 1, .stride = UINT32_MAX, .count = UINT32_MAX}}));
  EXPECT_FALSE(are_sound(
      std::vector<Slice>(2, Slice{.bytes = UINT32_MAX, .stride = 0, .count = UINT32_MAX})));
}

TEST(Slices, PacksOneAfterTheOther) {
  std::array<std::byte, 20> block;
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(i);
  const std::vector<Slice> slices{{.offset = 4, .bytes = 2, .stride = 8, .count = 2},
                                  {.offset = 19, .bytes = 1}};
  std::array<std::byte, 5> into{};
  pack(slices, block, into);
  const std::array<std::byte, 5> expected{std::byte{4}, std::byte{5}, std::byte{12}, std::byte{13},
                                          std::byte{19}};
  EXPECT_EQ(into, expected);
}

}  // namespace
}  // namespace baton::kv
