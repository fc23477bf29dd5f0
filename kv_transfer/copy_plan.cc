#include "kv_transfer/copy_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace baton::kv {
namespace {

using Placement = PagedLayout::Placement;

std::unexpected<Error> invalid(std::string what) {
  return fail(ErrorCode::kInvalidArgument, Stage::kHandoff, std::move(what));
}

Result<void> check_holder(const KvHolder& holder, TokenRange tokens) {
  if (auto good = holder.layout->check(); !good) return good;
  const auto held = static_cast<std::int64_t>(holder.blocks.size()) * holder.layout->block_tokens;
  if (tokens.first < 0 || tokens.first > tokens.end || tokens.end > held) {
    return invalid(fmt::format("tokens {} to {} are not among the {} that the blocks hold",
                               tokens.first, tokens.end, held));
  }
  const auto too_large = std::ranges::find_if(
      holder.blocks, [](std::uint32_t block) { return block >= PagedLayout::kMostBlocks; });
  if (too_large == holder.blocks.end()) return {};
  return invalid(fmt::format("block {} cannot be: there are at most {}", *too_large,
                             PagedLayout::kMostBlocks));
}

// Tokens that lie in one block on either side; `blocks` times, in blocks that follow each other.
struct Segment {
  std::uint32_t source_block = 0;
  std::uint32_t target_block = 0;
  int source_token = 0;  // within the block
  int target_token = 0;
  int tokens = 0;
  std::uint32_t blocks = 1;

  // Whether `next` is this one's last block, moved on by one.
  [[nodiscard]] bool goes_on_with(const Segment& next) const {
    return next.source_block == source_block + blocks &&
           next.target_block == target_block + blocks && next.source_token == source_token &&
           next.target_token == target_token && next.tokens == tokens;
  }
};

std::vector<Segment> segments_of(const KvHolder& source, const KvHolder& target,
                                 TokenRange tokens) {
  const std::int64_t from = source.layout->block_tokens;
  const std::int64_t into = target.layout->block_tokens;
  std::vector<Segment> segments;
  for (std::int64_t token = tokens.first; token < tokens.end;) {
    const std::int64_t left =
        std::min({from - token % from, into - token % into, tokens.end - token});
    segments.push_back({source.blocks[static_cast<std::size_t>(token / from)],
                        target.blocks[static_cast<std::size_t>(token / into)],
                        static_cast<int>(token % from), static_cast<int>(token % into),
                        static_cast<int>(left)});
    token += left;
  }
  // Engines hand blocks out in any order, often backwards.
  std::ranges::sort(segments, {}, [](const Segment& segment) {
    return std::pair(segment.source_block, segment.source_token);
  });
  std::vector<Segment> joined;
  for (const Segment& segment : segments) {
    if (!joined.empty() && joined.back().goes_on_with(segment)) {
      ++joined.back().blocks;
    } else {
      joined.push_back(segment);
    }
  }
  return joined;
}

// Layers and heads (of the model) that one source provides.
struct Box {
  std::size_t source = 0;
  IndexRange layers;
  IndexRange heads;
};

// Who provides which of the target's heads of one layer.
Result<std::vector<Box>> boxes_of_layer(std::span<const KvHolder> sources,
                                        const PagedLayout& target, int layer, std::size_t turn) {
  std::vector<Box> boxes;
  std::vector<std::size_t> holders;
  for (int head = target.heads.first; head < target.heads.end(); ++head) {
    holders.clear();
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const PagedLayout& layout = *sources[i].layout;
      if (layout.layers.contains(layer) && layout.heads.contains(head)) holders.push_back(i);
    }
    if (holders.empty()) {
      return invalid(fmt::format("no source holds head {} of layer {}", head, layer));
    }
    const std::size_t source = holders[turn % holders.size()];
    if (!boxes.empty() && boxes.back().source == source) {
      ++boxes.back().heads.count;
    } else {
      boxes.push_back({source, {layer, 1}, {head, 1}});
    }
  }
  return boxes;
}

// Each layer and head of the target once, by source.
Result<std::vector<Box>> share_out(std::span<const KvHolder> sources, const PagedLayout& target,
                                   std::size_t turn) {
  const auto changes_at = [sources](int layer) {
    return std::ranges::any_of(sources, [layer](const KvHolder& source) {
      return source.layout->layers.first == layer || source.layout->layers.end() == layer;
    });
  };
  std::vector<Box> boxes;
  std::size_t open = 0;  // the first box that reaches to the layer before
  for (int layer = target.layers.first; layer < target.layers.end(); ++layer) {
    if (layer != target.layers.first && !changes_at(layer)) {
      for (std::size_t i = open; i < boxes.size(); ++i) ++boxes[i].layers.count;
      continue;
    }
    auto fresh = boxes_of_layer(sources, target, layer, turn);
    if (!fresh) return fresh;
    open = boxes.size();
    boxes.insert(boxes.end(), fresh->begin(), fresh->end());
  }
  std::ranges::sort(boxes, {}, [](const Box& box) {
    return std::tuple(box.source, box.layers.first, box.heads.first);
  });
  return boxes;
}

// So many chunks, so far apart on either side.
struct Dimension {
  std::uint64_t count = 0;
  std::uint64_t source = 0;
  std::uint64_t target = 0;
};

// Chunks in some dimensions, in as few and as large pieces as there are.
struct Pattern {
  std::uint64_t bytes = 0;
  std::vector<Dimension> dimensions;

  void simplify() {
    std::erase_if(dimensions, [](const Dimension& one) { return one.count == 1; });
    while (grow_chunk() || join_two()) {
    }
    // The longest last: it becomes the run.
    std::ranges::sort(dimensions, {}, &Dimension::count);
  }

 private:
  // Chunks that touch on both sides are one.
  bool grow_chunk() {
    const auto touching = std::ranges::find_if(dimensions, [this](const Dimension& one) {
      return one.source == bytes && one.target == bytes;
    });
    if (touching == dimensions.end()) return false;
    bytes *= touching->count;
    dimensions.erase(touching);
    return true;
  }
  // Two dimensions of which one begins where the other ends are one.
  bool join_two() {
    for (Dimension& inner : dimensions) {
      const auto outer = std::ranges::find_if(dimensions, [&inner](const Dimension& one) {
        return &one != &inner && one.source == inner.source * inner.count &&
               one.target == inner.target * inner.count;
      });
      if (outer == dimensions.end()) continue;
      inner.count *= outer->count;
      dimensions.erase(outer);
      return true;
    }
    return false;
  }
};

void add_run(std::vector<CopyRun>& runs, const CopyRun& run) {
  if (!runs.empty()) {
    CopyRun& last = runs.back();
    const bool touches =
        last.source_region == run.source_region && last.target_region == run.target_region &&
        last.source + last.bytes == run.source && last.target + last.bytes == run.target &&
        last.count == run.count && last.source_stride == run.source_stride &&
        last.target_stride == run.target_stride;
    if (touches) {
      last.bytes += run.bytes;
      return;
    }
  }
  runs.push_back(run);
}

// The pattern from these first offsets on; `run` has its regions.
void add_pattern(std::vector<CopyRun>& runs, CopyRun run, const Pattern& pattern,
                 std::size_t depth = 0) {
  if (depth + 1 >= pattern.dimensions.size()) {
    run.bytes = pattern.bytes;
    if (!pattern.dimensions.empty()) {
      const Dimension& longest = pattern.dimensions.back();
      run.count = longest.count;
      run.source_stride = longest.source;
      run.target_stride = longest.target;
    }
    add_run(runs, run);
    return;
  }
  const Dimension& dimension = pattern.dimensions[depth];
  for (std::uint64_t i = 0; i < dimension.count; ++i) {
    add_pattern(runs, run, pattern, depth + 1);
    run.source += dimension.source;
    run.target += dimension.target;
  }
}

std::uint64_t offset_of(const Placement& place, int layer, int head, std::uint32_t block,
                        int token) {
  return place.offset +
         static_cast<std::uint64_t>(place.region_per_layer ? 0 : layer) * place.layer_stride +
         std::uint64_t{block} * place.block_stride +
         static_cast<std::uint64_t>(head) * place.head_stride +
         static_cast<std::uint64_t>(token) * place.token_stride;
}

// One part of a box, of one rank to another.
class PartCopy {
 public:
  PartCopy(const PagedLayout& source, const PagedLayout& target, std::size_t part)
      : source_(source),
        target_(target),
        from_(source.parts[part]),
        into_(target.parts[part]),
        row_bytes_(source.shape.parts[part].row_bytes) {}

  void add(std::vector<CopyRun>& runs, const Box& box, std::span<const Segment> segments) const {
    const bool by_layer = from_.region_per_layer || into_.region_per_layer;
    const int turns = by_layer ? box.layers.count : 1;
    for (int turn = 0; turn < turns; ++turn) {
      const IndexRange layers{box.layers.first + turn, by_layer ? 1 : box.layers.count};
      for (const Segment& segment : segments) {
        add_segment(runs, {box.source, layers, box.heads}, segment);
      }
    }
  }

 private:
  void add_segment(std::vector<CopyRun>& runs, const Box& box, const Segment& segment) const {
    const auto count = [](int many) { return static_cast<std::uint64_t>(many); };
    Pattern pattern{row_bytes_,
                    {{count(box.layers.count), from_.layer_stride, into_.layer_stride},
                     {segment.blocks, from_.block_stride, into_.block_stride},
                     {count(box.heads.count), from_.head_stride, into_.head_stride},
                     {count(segment.tokens), from_.token_stride, into_.token_stride}}};
    pattern.simplify();
    const int from_layer = box.layers.first - source_.layers.first;
    const int into_layer = box.layers.first - target_.layers.first;
    CopyRun run;
    run.source_region = region_of(from_, from_layer);
    run.target_region = region_of(into_, into_layer);
    run.source = offset_of(from_, from_layer, box.heads.first - source_.heads.first,
                           segment.source_block, segment.source_token);
    run.target = offset_of(into_, into_layer, box.heads.first - target_.heads.first,
                           segment.target_block, segment.target_token);
    add_pattern(runs, run, pattern);
  }

  static std::uint32_t region_of(const Placement& place, int layer) {
    return place.region + (place.region_per_layer ? static_cast<std::uint32_t>(layer) : 0);
  }

  const PagedLayout& source_;
  const PagedLayout& target_;
  const Placement& from_;
  const Placement& into_;
  std::uint64_t row_bytes_;
};

}  // namespace

Result<std::vector<CopyFrom>> plan_copy(std::span<const KvHolder> sources, const KvHolder& target,
                                        TokenRange tokens, std::size_t turn) {
  if (auto good = check_holder(target, tokens); !good) return std::unexpected(good.error());
  for (const KvHolder& source : sources) {
    if (auto good = check_holder(source, tokens); !good) return std::unexpected(good.error());
    if (source.layout->shape != target.layout->shape) {
      return fail(ErrorCode::kUnsupported, Stage::kHandoff,
                  "the KV of the two sides is not of one shape (model, type, layers, heads, rows)");
    }
  }
  const auto boxes = share_out(sources, *target.layout, turn);
  if (!boxes) return std::unexpected(boxes.error());

  std::vector<CopyFrom> plan;
  if (tokens.first == tokens.end) return plan;
  std::vector<Segment> segments;
  for (const Box& box : *boxes) {
    const KvHolder& source = sources[box.source];
    if (plan.empty() || plan.back().source != box.source) {
      plan.push_back({box.source, {}});
      segments = segments_of(source, target, tokens);
    }
    for (std::size_t part = 0; part < target.layout->parts.size(); ++part) {
      PartCopy(*source.layout, *target.layout, part).add(plan.back().runs, box, segments);
    }
  }
  return plan;
}

}  // namespace baton::kv
