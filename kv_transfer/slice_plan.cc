#include "kv_transfer/slice_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "kv_transfer/copy_plan.h"

namespace baton::kv {
namespace {

struct Chunk {
  std::uint64_t source = 0;
  std::uint64_t target = 0;
  std::uint64_t bytes = 0;
};

IndexRange common(IndexRange a, IndexRange b) {
  const int first = std::max(a.first, b.first);
  return {first, std::max(0, std::min(a.end(), b.end()) - first)};
}

// In the order of the target, neighbours on both sides as one.
std::vector<Chunk> chunks_of(const std::vector<CopyRun>& runs) {
  std::vector<Chunk> chunks;
  for (const CopyRun& run : runs) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      chunks.push_back(
          {run.source + i * run.source_stride, run.target + i * run.target_stride, run.bytes});
    }
  }
  std::ranges::sort(chunks, {}, &Chunk::target);
  std::vector<Chunk> joined;
  for (const Chunk& chunk : chunks) {
    if (!joined.empty() && joined.back().source + joined.back().bytes == chunk.source &&
        joined.back().target + joined.back().bytes == chunk.target) {
      joined.back().bytes += chunk.bytes;
    } else {
      joined.push_back(chunk);
    }
  }
  return joined;
}

// Whether the slice can take one chunk more, at the distance that its chunks have.
bool takes(const Slice& slice, const Chunk& chunk) {
  if (slice.bytes != chunk.bytes) return false;
  const std::uint64_t last = slice.offset + std::uint64_t{slice.stride} * (slice.count - 1);
  if (chunk.source <= last) return false;
  const std::uint64_t distance = chunk.source - last;
  return distance <= std::numeric_limits<std::uint32_t>::max() &&
         (slice.count == 1 || distance == slice.stride);
}

}  // namespace

Result<SlicePlan> plan_slices(const PagedLayout& slot, IndexRange layers, IndexRange heads,
                              TokenOrder order) {
  const IndexRange of_layers = common(slot.layers, layers);
  const IndexRange of_heads = common(slot.heads, heads);
  if (of_layers.count == 0 || of_heads.count == 0) {
    return fail(ErrorCode::kInvalidArgument, Stage::kHandoff,
                fmt::format("the ranks have nothing in common: layers {} to {} and heads {} to {} "
                            "here, {} to {} and {} to {} there",
                            layers.first, layers.end(), heads.first, heads.end(), slot.layers.first,
                            slot.layers.end(), slot.heads.first, slot.heads.end()));
  }
  SlicePlan plan{.slices = {},
                 .landed = dense_layout(slot.shape, of_layers, of_heads, slot.block_tokens,
                                        {.blocks = 1, .tokens = order, .region_per_layer = false})};
  const std::array<std::uint32_t, 1> first_block{0};
  const std::array<KvHolder, 1> source{{{&slot, first_block}}};
  const auto copy = plan_copy(source, {&plan.landed, first_block}, {0, slot.block_tokens}, 0);
  if (!copy) return std::unexpected(copy.error());
  for (const Chunk& chunk : chunks_of(copy->front().runs)) {
    if (chunk.source + chunk.bytes > std::numeric_limits<std::uint32_t>::max()) {
      return fail(ErrorCode::kUnsupported, Stage::kHandoff, "slices of a slot beyond 4 GiB");
    }
    if (!plan.slices.empty() && takes(plan.slices.back(), chunk)) {
      Slice& last = plan.slices.back();
      last.stride = static_cast<std::uint32_t>(
          chunk.source - (last.offset + std::uint64_t{last.stride} * (last.count - 1)));
      ++last.count;
    } else if (plan.slices.size() == kMaxSlices) {
      return fail(ErrorCode::kUnsupported, Stage::kHandoff,
                  fmt::format("a block of {} layers in another order is more than {} slices; fetch "
                              "whole blocks",
                              of_layers.count, kMaxSlices));
    } else {
      plan.slices.push_back({.offset = static_cast<std::uint32_t>(chunk.source),
                             .bytes = static_cast<std::uint32_t>(chunk.bytes)});
    }
  }
  return plan;
}

}  // namespace baton::kv
