#include "kv_transfer/cuda/copy_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

namespace baton::kv::cuda {
namespace {

constexpr std::array<std::uint32_t, 5> kWidths{16, 8, 4, 2, 1};
constexpr std::uint32_t kWidest = kWidths.front();

// The widest unit of which all of `numbers` (or-ed together) are multiples.
std::uint32_t width_of(std::uint64_t numbers) { return 1U << std::countr_zero(numbers | kWidest); }

// Whether the chunks lie in so many bytes, each in its own.
bool fits(std::uint64_t first, std::uint64_t stride, const CopyRun& run, std::uint64_t bytes) {
  if (first > bytes || run.bytes > bytes - first) return false;
  const std::uint64_t rest = bytes - first - run.bytes;
  return run.count == 1 || (stride >= run.bytes && run.count - 1 <= rest / stride);
}

Result<void> check_side(std::string_view side, std::span<const Region> regions,
                        std::uint32_t region, std::uint64_t first, std::uint64_t stride,
                        const CopyRun& run) {
  if (region < regions.size() && fits(first, stride, run, regions[region].bytes)) return {};
  return fail(
      ErrorCode::kInvalidArgument, Stage::kHandoff,
      fmt::format(
          "a run of {} x {} bytes from {} on, {} apart, overlaps itself or is not within {} region "
          "{} ({})",
          run.count, run.bytes, first, stride, side, region,
          region < regions.size() ? fmt::format("{} bytes", regions[region].bytes)
                                  : fmt::format("there are {}", regions.size())));
}

// Cuts a run, placed in memory, into entries.
void add_run(std::vector<CopyEntry>& entries, CopyEntry at, const CopyRun& run, std::uint32_t width,
             std::uint64_t most_units) {
  const std::uint64_t chunk_units = run.bytes / width;
  const std::uint64_t chunks = std::max<std::uint64_t>(most_units / chunk_units, 1);
  for (std::uint64_t chunk = 0; chunk < run.count; chunk += chunks) {
    const std::uint64_t here = std::min(chunks, run.count - chunk);
    for (std::uint64_t unit = 0; unit < chunk_units; unit += most_units) {
      CopyEntry& entry = entries.emplace_back(at);
      entry.source += chunk * run.source_stride + unit * width;
      entry.target += chunk * run.target_stride + unit * width;
      entry.chunk_units = static_cast<std::uint32_t>(std::min(most_units, chunk_units - unit));
      entry.units = static_cast<std::uint32_t>(entry.chunk_units * here);
    }
  }
}

struct Placed {
  const CopyRun* run = nullptr;
  CopyEntry at;  // addresses and strides
  std::uint32_t width = 0;
};

}  // namespace

Result<CopyTable> copy_table(std::span<const CopyRun> runs, std::span<const Region> sources,
                             std::span<const Region> targets, std::uint32_t most_units) {
  CopyTable table;
  std::vector<Placed> placed;
  placed.reserve(runs.size());
  for (const CopyRun& run : runs) {
    if (run.bytes == 0 || run.count == 0) continue;
    if (auto good =
            check_side("source", sources, run.source_region, run.source, run.source_stride, run);
        !good) {
      return std::unexpected(good.error());
    }
    if (auto good =
            check_side("target", targets, run.target_region, run.target, run.target_stride, run);
        !good) {
      return std::unexpected(good.error());
    }
    CopyEntry at;
    at.source = sources[run.source_region].address + run.source;
    at.target = targets[run.target_region].address + run.target;
    at.source_stride = run.source_stride;
    at.target_stride = run.target_stride;
    const std::uint64_t strides = run.count > 1 ? run.source_stride | run.target_stride : 0;
    placed.push_back({&run, at, width_of(at.source | at.target | run.bytes | strides)});
    table.bytes += run.bytes * run.count;
  }
  for (const std::uint32_t width : kWidths) {
    CopyBatch batch{width, static_cast<std::uint32_t>(table.entries.size()), 0, 0};
    for (const Placed& one : placed) {
      if (one.width == width) add_run(table.entries, one.at, *one.run, width, most_units);
    }
    for (CopyEntry& entry : std::span(table.entries).subspan(batch.first_entry)) {
      entry.first_unit = batch.units;
      batch.units += entry.units;
      ++batch.entries;
    }
    if (batch.entries > 0) table.batches.push_back(batch);
  }
  return table;
}

StagedRuns through_staging(std::span<const CopyRun> runs) {
  StagedRuns staged;
  const auto add = [&staged](const CopyRun& run) {
    CopyRun& pack = staged.pack.emplace_back(run);
    pack.target_region = 0;
    pack.target = staged.bytes;
    pack.target_stride = run.count > 1 ? run.bytes : 0;
    CopyRun& unpack = staged.unpack.emplace_back(run);
    unpack.source_region = 0;
    unpack.source = staged.bytes;
    unpack.source_stride = pack.target_stride;
    staged.bytes += run.bytes * run.count;
  };
  for (const std::uint32_t width : kWidths) {
    for (const CopyRun& run : runs) {
      if (width_of(run.bytes) == width) add(run);
    }
  }
  return staged;
}

}  // namespace baton::kv::cuda
