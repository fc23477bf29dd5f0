#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/kv_c_api/c_api_fixture.h"

namespace {

constexpr int kLayers = 3;
constexpr int kHeads = 4;
constexpr std::uint32_t kRowBytes = 8;
const baton_kv_part kParts[] = {{"k", kRowBytes, 0}, {"v", kRowBytes, 0}};

baton_kv_shape model_shape() {
  auto shape = zeroed<baton_kv_shape>();
  shape.model = "weights-1";
  shape.dtype = "bf16";
  shape.layers = kLayers;
  shape.kv_heads = kHeads;
  shape.parts = kParts;
  shape.part_count = 2;
  return shape;
}

// One rank with its memory: every row holds which part, layer, head and token it is of, or zeros.
struct Rank {
  Rank(const baton_kv_shape& shape, int first_head, int head_count, int block_tokens,
       std::uint32_t blocks, int token_order, int part_order, std::uint32_t one_region) {
    layout = zeroed<baton_kv_paged_layout>();
    layout.shape = &shape;
    layout.layer_count = kLayers;
    layout.first_head = first_head;
    layout.head_count = head_count;
    layout.block_tokens = block_tokens;
    auto how = zeroed<baton_kv_dense_options>();
    how.blocks = blocks;
    how.token_order = token_order;
    how.part_order = part_order;
    how.one_region = one_region;
    std::uint64_t region_bytes = 0;
    EXPECT_OK(baton_kv_dense_placements(&layout, &how, placements, &region_bytes));
    layout.placements = placements;
    regions.assign(one_region != 0 ? 1 : kLayers, std::vector<unsigned char>(region_bytes));
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  unsigned char* row(int part, int layer, int head, const std::vector<std::uint32_t>& blocks,
                     int token) {
    const baton_kv_placement& p = placements[part];
    const auto u = [](auto v) { return static_cast<std::uint64_t>(v); };
    const std::uint64_t at = p.offset + (p.region_per_layer != 0 ? 0 : u(layer) * p.layer_stride) +
                             blocks.at(u(token / layout.block_tokens)) * p.block_stride +
                             u(head - layout.first_head) * p.head_stride +
                             u(token % layout.block_tokens) * p.token_stride;
    const std::size_t region = p.region + (p.region_per_layer != 0 ? u(layer) : 0);
    EXPECT_LE(at + kRowBytes, regions.at(region).size());
    return regions.at(region).data() + at;
  }

  baton_kv_paged_layout layout{};
  baton_kv_placement placements[2] = {};
  std::vector<std::vector<unsigned char>> regions;
};

void set_row(unsigned char* row, int part, int layer, int head, int token) {
  const unsigned char text[kRowBytes] = {
      1, static_cast<unsigned char>(part), static_cast<unsigned char>(layer),
      static_cast<unsigned char>(head), static_cast<unsigned char>(token)};
  std::memcpy(row, text, kRowBytes);
}

// Two prefill ranks of two heads each, blocks of 4 tokens, into one decode rank of all four, blocks
// of 8, otherwise laid out in every way.
TEST(KvCApiLayouts, APlanMovesKvBetweenUnequalTensorParallelSizes) {
  constexpr int kTokens = 16;
  const baton_kv_shape shape = model_shape();
  Rank low(shape, 0, 2, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  Rank high(shape, 2, 2, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  Rank target(shape, 0, 4, 8, 5, BATON_KV_HND, BATON_KV_PARTS_PER_BLOCK, 1);
  const std::vector<std::uint32_t> source_blocks = {7, 2, 3, 0};
  const std::vector<std::uint32_t> target_blocks = {4, 1};
  Rank* const sources[] = {&low, &high};
  for (int part = 0; part < 2; ++part) {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 0; head < kHeads; ++head) {
        for (int token = 0; token < kTokens; ++token) {
          set_row(sources[head / 2]->row(part, layer, head, source_blocks, token), part, layer,
                  head, token);
        }
      }
    }
  }
  const baton_kv_holder from[] = {{&low.layout, source_blocks.data(), 4},
                                  {&high.layout, source_blocks.data(), 4}};
  const baton_kv_holder into = {&target.layout, target_blocks.data(), 2};
  baton_kv_plan* plan = nullptr;
  ASSERT_OK(baton_kv_plan_copy(from, 2, &into, 0, kTokens, 0, &plan));
  const baton_kv_run* runs = nullptr;
  std::size_t count = 0;
  ASSERT_OK(baton_kv_plan_runs(plan, &runs, &count));
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const baton_kv_run& run = runs[i];
    ASSERT_LT(run.holder, 2u);
    for (std::uint64_t c = 0; c < run.count; ++c) {
      auto& out = target.regions.at(run.target_region);
      const auto& in = sources[run.holder]->regions.at(run.source_region);
      ASSERT_LE(run.source + c * run.source_stride + run.bytes, in.size());
      ASSERT_LE(run.target + c * run.target_stride + run.bytes, out.size());
      std::memcpy(out.data() + run.target + c * run.target_stride,
                  in.data() + run.source + c * run.source_stride, run.bytes);
      bytes += run.bytes;
    }
  }
  baton_kv_plan_free(plan);
  EXPECT_EQ(bytes, std::uint64_t{2} * kLayers * kHeads * kTokens * kRowBytes);
  for (int part = 0; part < 2; ++part) {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 0; head < kHeads; ++head) {
        for (int token = 0; token < kTokens; ++token) {
          unsigned char expected[kRowBytes];
          set_row(expected, part, layer, head, token);
          ASSERT_EQ(
              std::memcmp(target.row(part, layer, head, target_blocks, token), expected, kRowBytes),
              0)
              << part << " " << layer << " " << head << " " << token;
        }
      }
    }
  }
}

// The decode rank of the second half of the heads asks for them alone.
TEST(KvCApiLayouts, SlicesTakeARanksHeadsOutOfASlot) {
  const baton_kv_shape shape = model_shape();
  Rank slot(shape, 0, 4, 4, 1, BATON_KV_NHD, BATON_KV_PARTS_PER_BLOCK, 1);
  std::vector<std::uint32_t> block = {0};
  for (int part = 0; part < 2; ++part) {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 0; head < kHeads; ++head) {
        for (int token = 0; token < 4; ++token) {
          set_row(slot.row(part, layer, head, block, token), part, layer, head, token);
        }
      }
    }
  }
  baton_kv_slice slices[64];
  std::size_t count = 0;
  const auto plan = [&](std::size_t capacity, baton_kv_placement* landed) {
    return baton_kv_plan_slices(&slot.layout, 0, kLayers, 2, 2, BATON_KV_NHD, slices, capacity,
                                &count, landed);
  };
  EXPECT_REFUSED(plan(0, nullptr), BATON_KV_INVALID_ARGUMENT, "larger array");
  ASSERT_GT(count, 0u);
  ASSERT_LE(count, 64u);
  Rank landed(shape, 2, 2, 4, 1, BATON_KV_NHD, BATON_KV_PARTS_PER_BLOCK, 1);
  ASSERT_OK(plan(64, landed.placements));
  std::vector<unsigned char> packed;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::uint32_t c = 0; c < slices[i].count; ++c) {
      const auto* at = slot.regions[0].data() + slices[i].offset + c * slices[i].stride;
      packed.insert(packed.end(), at, at + slices[i].bytes);
    }
  }
  ASSERT_EQ(packed.size(), std::size_t{2} * kLayers * 2 * 4 * kRowBytes);
  landed.regions = {packed};
  for (int part = 0; part < 2; ++part) {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 2; head < 4; ++head) {
        for (int token = 0; token < 4; ++token) {
          unsigned char expected[kRowBytes];
          set_row(expected, part, layer, head, token);
          ASSERT_EQ(std::memcmp(landed.row(part, layer, head, block, token), expected, kRowBytes),
                    0);
        }
      }
    }
  }
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  EXPECT_REFUSED(baton_kv_plan_slices(nullptr, 0, 1, 0, 1, 0, slices, 64, &count, nullptr), bad,
                 "null");
  EXPECT_REFUSED(baton_kv_plan_slices(&slot.layout, 0, 1, 0, 1, 7, slices, 64, &count, nullptr),
                 bad, "token_order is 7");
  EXPECT_REFUSED(baton_kv_plan_slices(&slot.layout, 0, 1, 0, 1, 0, nullptr, 64, &count, nullptr),
                 bad, "slices is null");
  EXPECT_REFUSED(baton_kv_plan_slices(&slot.layout, 0, 1, 0, 1, 0, slices, 64, nullptr, nullptr),
                 bad, "count is null");
  EXPECT_EQ(baton_kv_plan_slices(&slot.layout, -9, -9, 99, 99, 0, slices, 64, &count, nullptr),
            bad);
}

TEST(KvCApiLayouts, PlansThatCannotBe) {
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  const baton_kv_shape shape = model_shape();
  baton_kv_shape other = model_shape();
  other.model = "weights-2";
  Rank source(shape, 0, 2, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  Rank target(shape, 0, 4, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  Rank stranger(other, 0, 4, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  const std::uint32_t blocks[] = {0, 1, 1U << 30};
  const baton_kv_holder from = {&source.layout, blocks, 2};
  const baton_kv_holder into = {&target.layout, blocks, 2};
  baton_kv_plan* plan = nullptr;
  const auto refused = [&](const baton_kv_holder* s, std::size_t n, const baton_kv_holder* t,
                           std::int64_t first, std::int64_t end, baton_kv_status status,
                           const char* text) {
    EXPECT_REFUSED(baton_kv_plan_copy(s, n, t, first, end, 0, &plan), status, text);
    EXPECT_EQ(plan, nullptr);
  };
  refused(&from, 1, &into, 0, 8, bad, "no source holds head 2");
  refused(&from, 0, &into, 0, 8, bad, "no source holds head 0");
  const baton_kv_holder foreign = {&stranger.layout, blocks, 2};
  refused(&foreign, 1, &into, 0, 8, BATON_KV_UNSUPPORTED, "not of one shape");
  refused(&into, 1, &into, 0, 9, bad, "tokens 0 to 9");
  refused(&into, 1, &into, -1, 8, bad, "tokens -1");
  refused(&into, 1, &into, 5, 4, bad, "tokens 5 to 4");
  const baton_kv_holder far = {&target.layout, blocks, 3};
  refused(&far, 1, &into, 0, 8, bad, "block 1073741824");
  const baton_kv_holder null_blocks = {&target.layout, nullptr, 2};
  refused(&null_blocks, 1, &into, 0, 8, bad, "source 0.blocks is null");
  const baton_kv_holder null_layout = {nullptr, blocks, 2};
  refused(&into, 1, &null_layout, 0, 8, bad, "the target: baton_kv_paged_layout is null");
  refused(nullptr, 1, &into, 0, 8, bad, "sources is null");
  refused(&from, 1, nullptr, 0, 8, bad, "target is null");
  refused(&from, ~std::size_t{0}, &into, 0, 8, bad, "at most");
  EXPECT_REFUSED(baton_kv_plan_copy(&into, 1, &into, 0, 8, 0, nullptr), bad, "plan is null");
  const baton_kv_run* runs = nullptr;
  std::size_t count = 0;
  EXPECT_REFUSED(baton_kv_plan_runs(nullptr, &runs, &count), bad, "plan is null");
}

TEST(KvCApiLayouts, LayoutsThatCannotBe) {
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  const baton_kv_shape shape = model_shape();
  Rank rank(shape, 0, 2, 4, 9, BATON_KV_NHD, BATON_KV_PARTS_APART, 0);
  auto how = zeroed<baton_kv_dense_options>();
  how.blocks = 9;
  baton_kv_placement placements[2];
  const auto refused = [&](baton_kv_paged_layout layout, baton_kv_dense_options dense,
                           const char* text) {
    EXPECT_REFUSED(baton_kv_dense_placements(&layout, &dense, placements, nullptr), bad, text);
  };
  auto layout = rank.layout;
  layout.head_count = 0;
  refused(layout, how, "0 heads");
  layout.head_count = 5;
  refused(layout, how, "5 heads");
  layout = rank.layout;
  layout.first_layer = -1;
  refused(layout, how, "layers");
  layout = rank.layout;
  layout.block_tokens = 0;
  refused(layout, how, "blocks of 0 tokens");
  layout = rank.layout;
  layout.shape = nullptr;
  refused(layout, how, "baton_kv_shape is null");
  auto broken = shape;
  layout.shape = &broken;
  broken.parts = nullptr;
  refused(layout, how, "parts is null");
  broken = shape;
  broken.part_count = ~std::size_t{0};
  refused(layout, how, "part_count");
  const baton_kv_part nameless[] = {{nullptr, 8, 0}, {"v", 8, 0}};
  broken = shape;
  broken.parts = nameless;
  refused(layout, how, "name is null");
  broken = shape;
  broken.layers = 1 << 30;
  refused(layout, how, "layers");
  auto dense = how;
  dense.blocks = 0;
  refused(rank.layout, dense, "blocks is 0");
  dense = how;
  dense.token_order = 2;
  refused(rank.layout, dense, "token_order is 2");
  dense = how;
  dense.part_order = -1;
  refused(rank.layout, dense, "part_order is -1");
  dense = how;
  dense.one_region = 2;
  refused(rank.layout, dense, "one_region");
  EXPECT_REFUSED(baton_kv_dense_placements(&rank.layout, &how, nullptr, nullptr), bad, "null");
  EXPECT_REFUSED(baton_kv_dense_placements(&rank.layout, nullptr, placements, nullptr), bad,
                 "null");
}

TEST(KvCApiLayouts, HashesDifferWhereLayoutsDo) {
  auto layout = zeroed<baton_kv_layout>();
  layout.engine = "mine/1";
  layout.layers = 2;
  std::uint64_t first = 0, second = 0;
  ASSERT_OK(baton_kv_layout_hash(&layout, &first));
  EXPECT_NE(first, 0u);
  layout.order = "layer,kv,token,head";
  ASSERT_OK(baton_kv_layout_hash(&layout, &second));
  EXPECT_NE(first, second);
  layout.unified = 2;
  EXPECT_REFUSED(baton_kv_layout_hash(&layout, &first), BATON_KV_INVALID_ARGUMENT, "0 or 1");
  layout.unified = 0;
  layout.kv_heads = -1;
  EXPECT_REFUSED(baton_kv_layout_hash(&layout, &first), BATON_KV_INVALID_ARGUMENT, "below 0");
  EXPECT_REFUSED(baton_kv_layout_hash(nullptr, &first), BATON_KV_INVALID_ARGUMENT, "null");
  const baton_kv_shape shape = model_shape();
  ASSERT_OK(baton_kv_shape_hash(&shape, &first));
  auto other = shape;
  other.dtype = "fp8";
  ASSERT_OK(baton_kv_shape_hash(&other, &second));
  EXPECT_NE(first, second);
  EXPECT_REFUSED(baton_kv_shape_hash(&shape, nullptr), BATON_KV_INVALID_ARGUMENT, "hash is null");
}

}  // namespace
