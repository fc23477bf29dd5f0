#include "kv_transfer/copy_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/kv_transfer/paged_ranks.h"

namespace baton::kv {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

KvShape shape_of(int layers, int heads, std::uint32_t row_bytes = 4) {
  return {"m", "bf16", layers, heads, {{"k", row_bytes}, {"v", row_bytes}}};
}

std::size_t runs_of(const Result<std::vector<CopyFrom>>& plan) {
  std::size_t runs = 0;
  for (const CopyFrom& from : *plan) runs += from.runs.size();
  return runs;
}

// Layouts that are alike, so that all differences are those of the blocks.
class AlikeTest : public testing::Test {
 protected:
  Result<std::vector<CopyFrom>> plan(const Blocks& from, const Blocks& into, TokenRange tokens) {
    return plan_copy(std::vector<KvHolder>{{&layout_, from}}, {&layout_, into}, tokens, 0);
  }
  const DenseBlocks how_{.blocks = 64};
  const PagedLayout layout_ = dense_layout(shape_of(1, 2), {0, 1}, {0, 2}, 16, how_);
  const std::uint64_t block_bytes_ = 16 * 2 * 4;
};

TEST_F(AlikeTest, NeighbouringBlocksAreOneChunk) {
  const auto found = plan(upwards(3, 4), upwards(10, 4), {0, 64});
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1U);
  const std::uint64_t values = 64 * block_bytes_;  // where they begin, behind the keys
  EXPECT_THAT((*found)[0].runs,
              ElementsAre(CopyRun{0, 0, 3 * block_bytes_, 10 * block_bytes_, 4 * block_bytes_},
                          CopyRun{0, 0, values + 3 * block_bytes_, values + 10 * block_bytes_,
                                  4 * block_bytes_}));
}

TEST_F(AlikeTest, SoTheyAreBackwards) {
  const auto found = plan({6, 5, 4, 3}, {13, 12, 11, 10}, {0, 64});
  EXPECT_EQ(runs_of(found), 2U);
  EXPECT_EQ(*found, *plan(upwards(3, 4), upwards(10, 4), {0, 64}));
}

TEST_F(AlikeTest, PartsOfBlocksAtBothEnds) {
  const auto found = plan({0, 1, 2}, {5, 6, 7}, {5, 40});
  ASSERT_EQ(runs_of(found), 2U);
  EXPECT_EQ((*found)[0].runs[0].bytes, 35 * 8U);
  EXPECT_EQ((*found)[0].runs[0].source, 5 * 8U);
}

TEST_F(AlikeTest, NoTokensAreNoRuns) { EXPECT_EQ(runs_of(plan({0}, {0}, {16, 16})), 0U); }

TEST_F(AlikeTest, SaysWhatCannotBe) {
  EXPECT_THAT(plan({0}, {0, 1}, {0, 17}).error().message,
              HasSubstr("tokens 0 to 17 are not among the 16"));
  EXPECT_THAT(plan({0}, {0}, {-1, 3}).error().message, HasSubstr("tokens -1 to 3"));
  EXPECT_THAT(plan({0}, {1U << 30}, {0, 3}).error().message, HasSubstr("block 1073741824"));
}

TEST(CopyPlan, ALayerAtATimeInOneAllocationIsOneRun) {
  const DenseBlocks how{.blocks = 8, .region_per_layer = false};
  const PagedLayout layout = dense_layout(shape_of(32, 2), {0, 32}, {0, 2}, 16, how);
  const Blocks from{3}, into{5};
  const auto plan = plan_copy(std::vector<KvHolder>{{&layout, from}}, {&layout, into}, {0, 16}, 0);
  ASSERT_EQ(runs_of(plan), 2U);  // keys and values
  EXPECT_EQ((*plan)[0].runs[0].count, 32U);
  EXPECT_EQ((*plan)[0].runs[0].source_stride, dense_region_bytes(layout, how) / 32);
}

TEST(CopyPlan, AHeadOfHndBlocksIsAStridedRun) {
  const PagedLayout whole =
      dense_layout(shape_of(1, 8), {0, 1}, {0, 8}, 16, {.blocks = 8, .tokens = TokenOrder::kHnd});
  const PagedLayout half =
      dense_layout(shape_of(1, 8), {0, 1}, {4, 4}, 16, {.blocks = 8, .tokens = TokenOrder::kHnd});
  const Blocks from = upwards(0, 4), into = upwards(2, 4);
  const auto plan = plan_copy(std::vector<KvHolder>{{&whole, from}}, {&half, into}, {0, 64}, 0);
  ASSERT_EQ(runs_of(plan), 2U);
  const std::uint64_t head = 16 * 4;
  EXPECT_EQ((*plan)[0].runs[0],
            (CopyRun{0, 0, 4 * head, 2 * 4 * head, 4 * head, 8 * head, 4 * head, 4}));
}

TEST(CopyPlan, ReplicasAreReadInTurnAndALatentFromOneRank) {
  const DenseBlocks how{.blocks = 4};
  const KvShape latent{"m", "bf16", 2, 1, {{"latent", 8}}};
  std::vector<PagedLayout> ranks(4, dense_layout(latent, {0, 2}, {0, 1}, 16, how));
  const Blocks blocks{1};
  std::vector<KvHolder> sources;
  for (const PagedLayout& rank : ranks) sources.push_back({&rank, blocks});
  for (std::size_t turn = 0; turn < 6; ++turn) {
    const auto plan = plan_copy(sources, {&ranks[0], blocks}, {0, 16}, turn);
    ASSERT_EQ(plan->size(), 1U);
    EXPECT_EQ((*plan)[0].source, turn % 4);
  }
}

TEST(CopyPlan, SaysWhatNobodyHoldsAndWhatDiffers) {
  const DenseBlocks how{.blocks = 4};
  const PagedLayout whole = dense_layout(shape_of(2, 4), {0, 2}, {0, 4}, 16, how);
  const PagedLayout low = dense_layout(shape_of(2, 4), {0, 2}, {0, 2}, 16, how);
  const PagedLayout other = dense_layout(shape_of(2, 4, 8), {0, 2}, {0, 4}, 16, how);
  const Blocks blocks{1};
  const auto missing =
      plan_copy(std::vector<KvHolder>{{&low, blocks}}, {&whole, blocks}, {0, 4}, 0);
  EXPECT_THAT(missing.error().message, HasSubstr("no source holds head 2 of layer 0"));
  const auto unlike =
      plan_copy(std::vector<KvHolder>{{&other, blocks}}, {&whole, blocks}, {0, 4}, 0);
  EXPECT_EQ(unlike.error().code, ErrorCode::kUnsupported);
}

TEST(PagedLayout, RefusesWhatIsNone) {
  const DenseBlocks how{.blocks = 4};
  const PagedLayout good = dense_layout(shape_of(2, 4), {0, 2}, {0, 4}, 16, how);
  ASSERT_TRUE(good.check());
  const auto refused = [&good](auto change, std::string_view why) {
    PagedLayout bad = good;
    change(bad);
    const auto checked = bad.check();
    ASSERT_FALSE(checked) << why;
    EXPECT_THAT(checked.error().message, HasSubstr(std::string(why)));
  };
  refused([](PagedLayout& l) { l.shape.layers = 0; }, "0 layers");
  refused([](PagedLayout& l) { l.shape.kv_heads = 1 << 20; }, "heads, not 1 to");
  refused([](PagedLayout& l) { l.shape.parts.clear(); }, "0 parts");
  refused([](PagedLayout& l) { l.shape.parts[1].name = "k"; }, "one name");
  refused([](PagedLayout& l) { l.shape.parts[0].row_bytes = 0; }, "rows of 0 bytes");
  refused([](PagedLayout& l) { l.heads = {3, 2}; }, "2 heads from 3 on");
  refused([](PagedLayout& l) { l.layers = {-1, 2}; }, "2 layers from -1 on");
  refused([](PagedLayout& l) { l.layers = {1, 0x7FFFFFFF}; }, "layers from 1 on");
  refused([](PagedLayout& l) { l.block_tokens = 0; }, "blocks of 0 tokens");
  refused([](PagedLayout& l) { l.parts.pop_back(); }, "1 placements for 2 parts");
  refused([](PagedLayout& l) { l.parts[0].block_stride = 1ULL << 60; }, "larger than any memory");
}

TEST(KvShape, EveryFieldCountsInTheHash) {
  const KvShape base = shape_of(2, 4);
  for (const auto change :
       {+[](KvShape& s) { s.model = "n"; }, +[](KvShape& s) { s.dtype = "fp8"; },
        +[](KvShape& s) { s.layers = 3; }, +[](KvShape& s) { s.kv_heads = 5; },
        +[](KvShape& s) { s.parts[0].name = "q"; }, +[](KvShape& s) { s.parts[0].row_bytes = 5; },
        +[](KvShape& s) { s.parts.pop_back(); }}) {
    KvShape other = base;
    change(other);
    EXPECT_NE(other.hash(), base.hash());
  }
}

class CopyPlanProperty : public testing::TestWithParam<std::uint64_t> {};

TEST_P(CopyPlanProperty, CopiesWhatElementByElementWouldCopy) {
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
  constexpr int kCases = 500;
#else
  constexpr int kCases = 12'500;  // times eight seeds
#endif
  for (int number = 0; number < kCases; ++number) {
    const std::uint64_t seed = GetParam() * kCases + static_cast<std::uint64_t>(number);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Draw draw(seed);
    const KvShape shape = draw.shape();
    const std::int64_t held = draw.upto(20);
    std::vector<Rank> sources = draw.engine(shape, held);
    std::vector<Rank> targets = draw.engine(shape, held);
    fill(sources, held);
    const std::int64_t first = draw.coin() ? 0 : draw.upto(static_cast<int>(held)) - 1;
    const TokenRange tokens{first, first + draw.upto(static_cast<int>(held - first))};
    std::vector<KvHolder> holders;
    for (const Rank& rank : sources) holders.push_back(rank.holder());

    const auto turn = static_cast<std::size_t>(draw.upto(static_cast<int>(targets.size()))) - 1;
    Rank& target = targets[turn];
    const Rank wanted = naive(sources, target, tokens);
    const auto plan = plan_copy(holders, target.holder(), tokens, turn);
    ASSERT_TRUE(plan) << plan.error().message;
    std::uint64_t bytes = 0;
    for (const CopyFrom& from : *plan) {
      for (const CopyRun& run : from.runs) {
        copy_run(run, sources[from.source].regions, target.regions);
        bytes += run.bytes * run.count;
      }
    }
    ASSERT_EQ(target.regions, wanted.regions);
    std::uint64_t rows = 0;
    for (const KvShape::Part& part : shape.parts) rows += part.row_bytes;
    ASSERT_EQ(bytes, rows * static_cast<std::uint64_t>(target.layout.layers.count) *
                         static_cast<std::uint64_t>(target.layout.heads.count) *
                         static_cast<std::uint64_t>(tokens.end - tokens.first))
        << "a byte was copied twice";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CopyPlanProperty, testing::Range<std::uint64_t>(0, 8));

}  // namespace
}  // namespace baton::kv
