#pragma once

// What the kernels have to copy, held against the CPU byte by byte: run on the fake driver by
// copier_test.cc, on a GPU by tests/gpu.

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "kv_transfer/cuda/copier.h"
#include "tests/unit/kv_transfer/cuda/device_memory.h"
#include "tests/unit/kv_transfer/paged_ranks.h"

namespace baton::kv::cuda {

struct Machine {
  const DriverTable& driver;
  Copier& copier;
};

inline Regions random_regions(std::mt19937_64& rng, std::vector<std::size_t> sizes) {
  Regions regions;
  for (const std::size_t size : sizes) {
    auto& region = regions.emplace_back(size);
    for (std::uint8_t& byte : region) byte = static_cast<std::uint8_t>(rng());
  }
  return regions;
}

// Copies on the device and on the CPU; returns what both made of `targets`.
inline Regions copied(const Machine& machine, std::span<const CopyRun> runs, const Regions& sources,
                      Regions targets) {
  const DeviceMemory from(machine.driver, machine.copier.context(), sources);
  const DeviceMemory into(machine.driver, machine.copier.context(), targets);
  const auto ticket = machine.copier.begin(runs, from.regions(), into.regions());
  EXPECT_TRUE(ticket) << ticket.error().message;
  if (!ticket) return {};
  const auto ended = machine.copier.wait(*ticket);
  EXPECT_TRUE(ended) << ended.error().message;
  for (const CopyRun& run : runs) copy_run(run, sources, targets);
  EXPECT_EQ(into.contents(), targets);
  EXPECT_EQ(from.contents(), sources);
  return targets;
}

// Runs that only the kernel of this width can copy, from one unit to many tiles.
inline void expect_width_is_copied(const Machine& machine, std::uint64_t width) {
  std::mt19937_64 rng(width);
  const std::vector<CopyRun> runs{
      {0, 1, width, 0, width},                                                // a lone unit
      {0, 1, 3 * width, 4 * width, 5 * width, 7 * width, 9 * width, 200},     // short chunks
      {1, 0, 5 * width, width, 1001 * width, 1500 * width, 1003 * width, 3},  // chunks over tiles
      {1, 1, 9000 * width, 3001 * width, 2000 * width},                       // one long chunk
      {0, 1, width, 6001 * width, width, 3 * width, width, 777}};             // gathers units
  const std::size_t bytes = 12'000 * width;
  const Regions sources = random_regions(rng, {bytes, bytes});
  (void)copied(machine, runs, sources, random_regions(rng, {bytes, bytes}));
}

// One engine's ranks that share the heads out evenly, with a sequence in their blocks.
inline std::vector<Rank> ranks_of(const KvShape& shape, int ranks, int block_tokens,
                                  const Blocks& blocks, const DenseBlocks& how,
                                  std::int64_t tokens) {
  std::vector<Rank> engine;
  const int heads = shape.kv_heads / ranks;
  for (int i = 0; i < ranks; ++i) {
    const auto layout =
        dense_layout(shape, {0, shape.layers}, {i * heads, heads}, block_tokens, how);
    Rank& rank = engine.emplace_back(layout, blocks, Regions{});
    rank.regions.resize(how.region_per_layer ? static_cast<std::size_t>(shape.layers) : 1);
    for (auto& region : rank.regions) region.resize(dense_region_bytes(layout, how), 0xAA);
  }
  fill(engine, tokens);
  return engine;
}

// Fills one target rank from the sources; through a staging buffer where `packs`.
inline void expect_handed_over(const Machine& machine, std::vector<Rank> sources, Rank target,
                               TokenRange tokens, bool packs) {
  std::vector<KvHolder> holders;
  for (const Rank& rank : sources) holders.push_back(rank.holder());
  const auto plan = plan_copy(holders, target.holder(), tokens, 0);
  ASSERT_TRUE(plan) << plan.error().message;
  const Rank wanted = naive(sources, target, tokens);
  for (const CopyFrom& from : *plan) {
    const Regions& source = sources[from.source].regions;
    if (packs) {
      const StagedRuns staged = through_staging(from.runs);
      const Regions staging =
          copied(machine, staged.pack, source, Regions{std::vector<std::uint8_t>(staged.bytes)});
      target.regions = copied(machine, staged.unpack, staging, target.regions);
    } else {
      target.regions = copied(machine, from.runs, source, target.regions);
    }
  }
  EXPECT_EQ(target.regions, wanted.regions);
}

// Llama-like KV, small: rows of 64 bytes.
inline KvShape case_shape() { return {"m", "bf16", 3, 4, {{"k", 64}, {"v", 64}}}; }
inline const Blocks kCaseBlocks{5, 4, 9, 0};  // of 16 tokens
inline constexpr TokenRange kCaseTokens{3, 61};

inline void expect_packed_and_unpacked(const Machine& machine) {
  const DenseBlocks apart{.blocks = 10};
  const DenseBlocks per_block{
      .blocks = 12, .parts = PartOrder::kPerBlock, .region_per_layer = false};
  // Scales of odd sizes beside wide rows: packing must not narrow the rows.
  KvShape shape = case_shape();
  shape.parts.insert(shape.parts.begin(), {"scale", 6});
  const auto sources = ranks_of(shape, 1, 16, kCaseBlocks, apart, 64);
  const auto targets = ranks_of(shape, 1, 8, {7, 1, 11, 3, 2, 10, 6, 0}, per_block, 64);
  expect_handed_over(machine, sources, targets[0], kCaseTokens, true);
}

inline void expect_heads_resliced(const Machine& machine) {
  for (const TokenOrder order : {TokenOrder::kNhd, TokenOrder::kHnd}) {
    const DenseBlocks how{.blocks = 10, .tokens = order};
    const auto one = ranks_of(case_shape(), 1, 16, kCaseBlocks, how, 64);
    const auto two = ranks_of(case_shape(), 2, 16, {1, 2, 3, 8}, how, 64);
    for (const Rank& half : two) expect_handed_over(machine, one, half, kCaseTokens, false);
    expect_handed_over(machine, two, one[0], kCaseTokens, false);
  }
}

inline void expect_reordered(const Machine& machine, TokenOrder from, TokenOrder into) {
  const auto sources =
      ranks_of(case_shape(), 1, 16, kCaseBlocks, {.blocks = 10, .tokens = from}, 64);
  const auto targets =
      ranks_of(case_shape(), 1, 16, kCaseBlocks, {.blocks = 10, .tokens = into}, 64);
  expect_handed_over(machine, sources, targets[0], kCaseTokens, false);
}

// Any engine to any other, as copy_plan_test.cc draws them.
inline void expect_random_systems(const Machine& machine, std::uint64_t first_seed, int cases) {
  for (int number = 0; number < cases; ++number) {
    const std::uint64_t seed = first_seed + static_cast<std::uint64_t>(number);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Draw draw(seed);
    const KvShape shape = draw.shape();
    const std::int64_t held = draw.upto(20);
    std::vector<Rank> sources = draw.engine(shape, held);
    const std::vector<Rank> targets = draw.engine(shape, held);
    fill(sources, held);
    expect_handed_over(machine, sources, targets.back(), {0, held}, draw.coin());
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace baton::kv::cuda
