#include "kv_transfer/cuda/copy_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "tests/unit/kv_transfer/paged_ranks.h"

namespace baton::kv::cuda {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kSource = 0x10000;
constexpr std::uint64_t kTarget = 0x90000;
constexpr Region kFrom{kSource, 0x4000};
constexpr Region kInto{kTarget, 0x4000};

Result<CopyTable> table_of(std::vector<CopyRun> runs, std::uint32_t most_units = kMostUnits) {
  return copy_table(runs, std::vector{kFrom}, std::vector{kInto}, most_units);
}

std::uint32_t width_of(const CopyRun& run) {
  const auto table = table_of({run});
  EXPECT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->batches.size(), 1U);
  return table->batches.at(0).width;
}

TEST(CopyTable, UnitsAreAsWideAsAllAllows) {
  const CopyRun wide{0, 0, 64, 128, 32, 48, 80, 3};
  EXPECT_EQ(width_of(wide), 16U);
  const auto changed = [&wide](auto change) {
    CopyRun run = wide;
    change(run);
    return width_of(run);
  };
  EXPECT_EQ(changed([](CopyRun& run) { run.source += 8; }), 8U);
  EXPECT_EQ(changed([](CopyRun& run) { run.target += 4; }), 4U);
  EXPECT_EQ(changed([](CopyRun& run) { run.bytes -= 2; }), 2U);
  EXPECT_EQ(changed([](CopyRun& run) { run.source_stride += 1; }), 1U);
  EXPECT_EQ(changed([](CopyRun& run) { run.target_stride += 4; }), 4U);
  EXPECT_EQ(changed([](CopyRun& run) { run.source_stride += 1, run.count = 1; }), 16U);
}

TEST(CopyTable, TheAddressOfARegionCounts) {
  const CopyRun run{0, 0, 0, 0, 16};
  const auto table =
      copy_table(std::vector{run}, std::vector{Region{kSource + 2, 64}}, std::vector{kInto});
  EXPECT_EQ(table->batches.at(0).width, 2U);
  EXPECT_EQ(table->entries.at(0).source, kSource + 2);
}

TEST(CopyTable, OneBatchAWidthTheWidestFirst) {
  const auto table = table_of({{0, 0, 0, 0, 3},
                               {0, 0, 16, 16, 32},
                               {0, 0, 64, 64, 5},
                               {0, 0, 128, 128, 16, 64, 32, 4},
                               {0, 0, 1024, 1024, 0},
                               {0, 0, 1024, 1024, 16, 0, 0, 0}});
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->bytes, 3 + 32 + 5 + 64U);
  ASSERT_EQ(table->batches.size(), 2U);
  EXPECT_EQ(table->batches[0].width, 16U);
  EXPECT_EQ(table->batches[0].first_entry, 0U);
  EXPECT_EQ(table->batches[0].entries, 2U);
  EXPECT_EQ(table->batches[0].units, 6U);
  EXPECT_EQ(table->batches[1].width, 1U);
  EXPECT_EQ(table->batches[1].first_entry, 2U);
  EXPECT_EQ(table->batches[1].units, 8U);
  EXPECT_EQ(table->entries.at(1).first_unit, 2U);
  EXPECT_EQ(table->entries.at(2).first_unit, 0U);
  EXPECT_EQ(table->entries.at(3).first_unit, 3U);
}

TEST(CopyTable, RefusesWhatIsNotWithinItsRegions) {
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t bytes = kFrom.bytes;
  EXPECT_TRUE(table_of({{0, 0, 0, 0, bytes}}));
  EXPECT_TRUE(table_of({{0, 0, 0, 0, 16, bytes - 16, 16, 2}}));
  for (const CopyRun& run : std::vector<CopyRun>{{0, 0, 0, 0, bytes + 1},
                                                 {0, 0, bytes, 0, 1},
                                                 {0, 0, kHuge, 0, 2},
                                                 {0, 0, 0, kHuge - 1, 8},
                                                 {0, 0, 2, 2, kHuge},
                                                 {0, 0, 1, 0, 16, bytes - 16, 16, 2},
                                                 {0, 0, 0, 1, 16, 16, bytes - 16, 2},
                                                 {0, 0, 0, 0, 16, kHuge / 2, 16, 4},
                                                 {0, 0, 0, 0, 16, 16, 16, kHuge},
                                                 {1, 0, 0, 0, 16},
                                                 {0, 1, 0, 0, 16}}) {
    const auto table = table_of({run});
    ASSERT_FALSE(table) << run.source << " " << run.bytes << " " << run.count;
    EXPECT_EQ(table.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_THAT(table_of({{0, 0, 8, 0, 16, 32, 16, 600}}).error().message,
              HasSubstr("a run of 600 x 16 bytes from 8 on, 32 apart, overlaps itself or is not "
                        "within source region 0 (16384 bytes)"));
  EXPECT_THAT(table_of({{0, 7, 0, 0, 16}}).error().message,
              HasSubstr("target region 7 (there are 1)"));
}

TEST(CopyTable, RefusesChunksThatOverlap) {
  EXPECT_FALSE(table_of({{0, 0, 0, 0, 16, 16, 15, 2}}));
  EXPECT_FALSE(table_of({{0, 0, 0, 0, 16, 0, 16, 2}}));
}

// Copies with all threads of a launch, on memory of this process.
void execute(const CopyTable& table, std::uint64_t threads) {
  for (const CopyBatch& batch : table.batches) {
    const CopyLaunch launch{&table.entries[batch.first_entry], batch.units, batch.entries};
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
#define BATON_EXECUTE(bytes, unit, name) \
  if (batch.width == (bytes)) copy_as_thread<unit>(launch, thread, threads);
      BATON_COPY_KERNELS(BATON_EXECUTE)
#undef BATON_EXECUTE
    }
  }
}

TEST(CopyTable, LongRunsAreCutAndStillWhole) {
  std::mt19937_64 rng(1);
  Regions source{std::vector<std::uint8_t>(6000)};
  std::ranges::generate(source[0], [&rng] { return static_cast<std::uint8_t>(rng()); });
  for (int number = 0; number < 2000; ++number) {
    SCOPED_TRACE(number);
    const auto below = [&rng](std::uint64_t most) { return rng() % most; };
    const std::uint64_t scale = 1ULL << below(5);
    CopyRun run{0, 0, below(9) * scale, below(9) * scale, (1 + below(12)) * scale};
    run.count = 1 + below(12);
    run.source_stride = run.bytes + below(5) * scale;
    run.target_stride = run.bytes + below(5) * scale;
    const auto most = static_cast<std::uint32_t>(1 + below(40));
    Regions target{std::vector<std::uint8_t>(6000, 0x55)};
    Regions wanted = target;
    const auto table = copy_table(
        std::vector{run}, std::vector{Region{std::bit_cast<std::uint64_t>(source[0].data()), 6000}},
        std::vector{Region{std::bit_cast<std::uint64_t>(target[0].data()), 6000}}, most);
    ASSERT_TRUE(table) << table.error().message;
    for (const CopyEntry& entry : table->entries) {
      ASSERT_LE(entry.units, most);
      ASSERT_EQ(entry.units % entry.chunk_units, 0U);
    }
    execute(*table, kLanes * (1 + below(5)));
    copy_run(run, source, wanted);
    ASSERT_EQ(target, wanted);
  }
}

TEST(CopyTable, RunsOfMoreUnitsThanAnEntryHas) {
  constexpr std::uint64_t kTerabyte = 1ULL << 40;
  const std::vector whole{Region{1ULL << 44, 4 * kTerabyte}};
  const std::vector into{Region{1ULL << 45, 4 * kTerabyte}};
  const auto long_chunk = copy_table(std::vector{CopyRun{0, 0, 0, 0, kTerabyte + 16}}, whole, into);
  EXPECT_EQ(long_chunk->entries.size(), (kTerabyte / 16) / kMostUnits + 1);
  EXPECT_EQ(long_chunk->entries.back().units, 1U);
  EXPECT_EQ(long_chunk->entries.back().source, (1ULL << 44) + kTerabyte);
  EXPECT_EQ(long_chunk->batches.at(0).units, kTerabyte / 16 + 1);
  const CopyRun many{0, 0, 0, 0, kTerabyte / 64, kTerabyte / 32, kTerabyte / 64, 128};
  const auto chunks = copy_table(std::vector{many}, whole, into);
  const auto units =
      std::accumulate(chunks->entries.begin(), chunks->entries.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const CopyEntry& entry) { return sum + entry.units; });
  EXPECT_EQ(units, 128 * kTerabyte / 64 / 16);
  EXPECT_EQ(units, chunks->batches.at(0).units);
}

TEST(StridedCopy, EntriesAreFoundByUnit) {
  const std::vector<CopyEntry> entries{
      {.first_unit = 0, .units = 1}, {.first_unit = 1, .units = 7}, {.first_unit = 8, .units = 2}};
  const CopyLaunch launch{entries.data(), 10, 3};
  const std::vector<std::uint32_t> wanted{0, 1, 1, 1, 1, 1, 1, 1, 2, 2};
  for (std::uint64_t unit = 0; unit < 10; ++unit) EXPECT_EQ(entry_of(launch, unit), wanted[unit]);
}

TEST(StridedCopy, BlocksAreAsManyAsThereIsWorkFor) {
  constexpr std::uint64_t kBlock = kUnitsPerLane * kThreadsPerBlock;
  EXPECT_EQ(blocks_for(1, 100), 1U);
  EXPECT_EQ(blocks_for(kBlock, 100), 1U);
  EXPECT_EQ(blocks_for(kBlock + 1, 100), 2U);
  EXPECT_EQ(blocks_for(1000 * kBlock, 100), 100U);
}

TEST(ThroughStaging, PacksWithoutGapsAndNarrowsNothing) {
  const std::vector<CopyRun> runs{{2, 5, 10, 20, 6, 8, 12, 3},   // by 2
                                  {0, 1, 64, 32, 48},            // by 16
                                  {1, 0, 0, 0, 24, 32, 24, 2}};  // by 8
  const StagedRuns staged = through_staging(runs);
  EXPECT_EQ(staged.bytes, 18 + 48 + 48U);
  EXPECT_THAT(staged.pack, testing::ElementsAre(CopyRun{0, 0, 64, 0, 48, 0, 0, 1},
                                                CopyRun{1, 0, 0, 48, 24, 32, 24, 2},
                                                CopyRun{2, 0, 10, 96, 6, 8, 6, 3}));
  EXPECT_THAT(staged.unpack, testing::ElementsAre(CopyRun{0, 1, 0, 32, 48, 0, 0, 1},
                                                  CopyRun{0, 0, 48, 0, 24, 24, 24, 2},
                                                  CopyRun{0, 5, 96, 20, 6, 6, 12, 3}));
}

}  // namespace
}  // namespace baton::kv::cuda
