#include "kv_transfer/slice_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace baton::kv {
namespace {

constexpr std::uint32_t kRow = 8;

KvShape sliced_shape_of(int layers, int heads) {
  return {"m", "bf16", layers, heads, {{"k", kRow}, {"v", kRow}}};
}

// Where a row lies in block 0 of a layout.
std::uint64_t place_of(const PagedLayout& layout, std::size_t part, int layer, int head,
                       int token) {
  const PagedLayout::Placement& place = layout.parts[part];
  return place.offset +
         static_cast<std::uint64_t>(layer - layout.layers.first) * place.layer_stride +
         static_cast<std::uint64_t>(head - layout.heads.first) * place.head_stride +
         static_cast<std::uint64_t>(token) * place.token_stride;
}

template <class Each>
void for_each_row(const PagedLayout& layout, Each each) {
  for (std::size_t part = 0; part < layout.parts.size(); ++part) {
    for (int layer = layout.layers.first; layer < layout.layers.end(); ++layer) {
      for (int head = layout.heads.first; head < layout.heads.end(); ++head) {
        for (int token = 0; token < layout.block_tokens; ++token) each(part, layer, head, token);
      }
    }
  }
}

std::uint64_t name_of_row(std::size_t part, int layer, int head, int token) {
  return (((part * 1000 + static_cast<std::uint64_t>(layer)) * 1000 +
           static_cast<std::uint64_t>(head)) *
              1000 +
          static_cast<std::uint64_t>(token)) +
         1;
}

// A slot in which each row says which one it is.
std::vector<std::byte> slot_of(const PagedLayout& layout, const DenseBlocks& how) {
  std::vector<std::byte> slot(dense_region_bytes(layout, how));
  for_each_row(layout, [&](std::size_t part, int layer, int head, int token) {
    const std::uint64_t name = name_of_row(part, layer, head, token);
    std::memcpy(slot.data() + place_of(layout, part, layer, head, token), &name, sizeof name);
  });
  return slot;
}

TEST(SlicePlan, HeadsOfAnNhdBlockAreOneSliceForEachLayerAndPart) {
  const DenseBlocks how{.blocks = 1, .region_per_layer = false};
  const PagedLayout slot = dense_layout(sliced_shape_of(32, 8), {0, 32}, {0, 8}, 16, how);
  const auto plan = plan_slices(slot, {0, 32}, {2, 2}, TokenOrder::kNhd);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  // All tokens, parts and layers lie at equal distances.
  ASSERT_EQ(plan->slices.size(), 1U);
  EXPECT_EQ(
      plan->slices[0],
      (Slice{.offset = 2 * kRow, .bytes = 2 * kRow, .stride = 8 * kRow, .count = 32 * 2 * 16}));
}

TEST(SlicePlan, AWholeSlotIsOneChunk) {
  const DenseBlocks how{.blocks = 1, .tokens = TokenOrder::kHnd, .region_per_layer = false};
  const PagedLayout slot = dense_layout(sliced_shape_of(4, 2), {0, 4}, {0, 2}, 16, how);
  const auto plan = plan_slices(slot, {0, 4}, {0, 2}, TokenOrder::kHnd);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->slices.size(), 1U);
  EXPECT_EQ(plan->slices[0].bytes, dense_region_bytes(slot, how));
}

TEST(SlicePlan, SaysWhatCannotBe) {
  const DenseBlocks how{.blocks = 1, .region_per_layer = false};
  const PagedLayout slot = dense_layout(sliced_shape_of(32, 8), {0, 16}, {0, 8}, 16, how);
  EXPECT_THAT(plan_slices(slot, {16, 16}, {0, 8}, TokenOrder::kNhd).error().message,
              testing::HasSubstr("nothing in common"));
  const auto turned = plan_slices(slot, {0, 16}, {0, 8}, TokenOrder::kHnd);
  ASSERT_TRUE(turned.has_value());
  EXPECT_LE(turned->slices.size(), kMaxSlices);
  const PagedLayout large = dense_layout(sliced_shape_of(128, 64), {0, 128}, {0, 64}, 16, how);
  EXPECT_EQ(plan_slices(large, {0, 128}, {0, 64}, TokenOrder::kHnd).error().code,
            ErrorCode::kUnsupported);
}

TEST(SlicePlan, LandsEveryRowOfTheShareAndNoOther) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  const auto range = [&rng](int all) {
    const int first = static_cast<int>(rng() % static_cast<unsigned>(all));
    return IndexRange{first, 1 + static_cast<int>(rng() % static_cast<unsigned>(all - first))};
  };
  int planned = 0;
  for (int i = 0; i < 3000; ++i) {
    const int layers = 1 + static_cast<int>(rng() % 6);
    const int heads = 1 + static_cast<int>(rng() % 8);
    const DenseBlocks how{.blocks = 1,
                          .tokens = rng() % 2 == 0 ? TokenOrder::kNhd : TokenOrder::kHnd,
                          .parts = rng() % 2 == 0 ? PartOrder::kApart : PartOrder::kPerBlock,
                          .region_per_layer = false};
    const PagedLayout slot = dense_layout(sliced_shape_of(layers, heads), range(layers),
                                          range(heads), 1 + static_cast<int>(rng() % 20), how);
    const auto order = rng() % 2 == 0 ? TokenOrder::kNhd : TokenOrder::kHnd;
    const auto plan = plan_slices(slot, range(layers), range(heads), order);
    if (!plan) {
      ASSERT_EQ(plan.error().code, plan.error().message.contains("in common")
                                       ? ErrorCode::kInvalidArgument
                                       : ErrorCode::kUnsupported);
      continue;
    }
    ++planned;
    ASSERT_TRUE(are_sound(plan->slices));
    std::vector<std::byte> landed(bytes_of(plan->slices));
    ASSERT_EQ(landed.size(),
              dense_region_bytes(plan->landed, {.blocks = 1, .region_per_layer = false}));
    pack(plan->slices, slot_of(slot, how), landed);
    for_each_row(plan->landed, [&](std::size_t part, int layer, int head, int token) {
      std::uint64_t found = 0;
      std::memcpy(&found, landed.data() + place_of(plan->landed, part, layer, head, token), kRow);
      ASSERT_EQ(found, name_of_row(part, layer, head, token));
    });
  }
  EXPECT_GT(planned, 1000);
}

}  // namespace
}  // namespace baton::kv
