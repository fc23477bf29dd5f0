#include "kv_transfer/paged_layout.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <set>
#include <utility>

namespace baton::kv {
namespace {

// Chosen so that no address of a block below kMostBlocks overflows.
constexpr std::uint64_t kLargestOffset = std::uint64_t{1} << 60;
constexpr std::uint64_t kLargestLayerStride = std::uint64_t{1} << 48;
constexpr std::uint64_t kLargestBlockStride = std::uint64_t{1} << 38;
constexpr std::uint64_t kLargestRowStride = std::uint64_t{1} << 44;
constexpr std::uint32_t kMostRowBytes = 1U << 24;
constexpr int kMostLayers = 4096;
constexpr int kMostHeads = 65536;
constexpr int kMostBlockTokens = 65536;
constexpr std::size_t kMostParts = 8;

std::unexpected<Error> wrong(std::string what) {
  return fail(ErrorCode::kInvalidArgument, Stage::kHandoff, "KV layout: " + std::move(what));
}

Result<void> check_shape(const KvShape& shape) {
  if (shape.layers < 1 || shape.layers > kMostLayers) {
    return wrong(fmt::format("{} layers, not 1 to {}", shape.layers, kMostLayers));
  }
  if (shape.kv_heads < 1 || shape.kv_heads > kMostHeads) {
    return wrong(fmt::format("{} heads, not 1 to {}", shape.kv_heads, kMostHeads));
  }
  if (shape.parts.empty() || shape.parts.size() > kMostParts) {
    return wrong(fmt::format("{} parts, not 1 to {}", shape.parts.size(), kMostParts));
  }
  std::set<std::string_view> names;
  for (const KvShape::Part& part : shape.parts) {
    if (!names.insert(part.name).second) return wrong("two parts of one name");
    if (part.row_bytes < 1 || part.row_bytes > kMostRowBytes) {
      return wrong(fmt::format("rows of {} bytes, not 1 to {}", part.row_bytes, kMostRowBytes));
    }
  }
  return {};
}

Result<void> check_range(std::string_view what, IndexRange range, int all) {
  if (range.first >= 0 && range.count >= 1 && range.first < all &&
      range.count <= all - range.first) {
    return {};
  }
  return wrong(
      fmt::format("{} {} from {} on, of a model with {}", range.count, what, range.first, all));
}

Result<void> check_placement(const PagedLayout::Placement& place) {
  const bool fits = place.offset <= kLargestOffset && place.layer_stride <= kLargestLayerStride &&
                    place.block_stride <= kLargestBlockStride &&
                    place.head_stride <= kLargestRowStride &&
                    place.token_stride <= kLargestRowStride;
  if (!fits) return wrong("an offset or a stride that is larger than any memory");
  return {};
}

}  // namespace

std::uint64_t KvShape::hash() const {
  std::string text = fmt::format("baton-kv-shape-1;{}:{};{}:{};{};{};", model.size(), model,
                                 dtype.size(), dtype, layers, kv_heads);
  for (const Part& part : parts) {
    text += fmt::format("{}:{};{};", part.name.size(), part.name, part.row_bytes);
  }
  const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
  return hash == 0 ? 1 : hash;
}

Result<void> PagedLayout::check() const {
  if (auto good = check_shape(shape); !good) return good;
  if (auto good = check_range("layers", layers, shape.layers); !good) return good;
  if (auto good = check_range("heads", heads, shape.kv_heads); !good) return good;
  if (block_tokens < 1 || block_tokens > kMostBlockTokens) {
    return wrong(fmt::format("blocks of {} tokens, not 1 to {}", block_tokens, kMostBlockTokens));
  }
  if (parts.size() != shape.parts.size()) {
    return wrong(fmt::format("{} placements for {} parts", parts.size(), shape.parts.size()));
  }
  for (const Placement& place : parts) {
    if (auto good = check_placement(place); !good) return good;
  }
  return {};
}

PagedLayout dense_layout(KvShape shape, IndexRange layers, IndexRange heads, int block_tokens,
                         const DenseBlocks& how) {
  const auto block_rows =
      static_cast<std::uint64_t>(heads.count) * static_cast<std::uint64_t>(block_tokens);
  const auto blocks = static_cast<std::uint64_t>(how.blocks);
  std::uint64_t rows_bytes = 0;  // of all parts, one token and head
  for (const KvShape::Part& part : shape.parts) rows_bytes += part.row_bytes;
  PagedLayout layout{std::move(shape), layers, heads, block_tokens, {}};
  std::uint64_t before = 0;  // bytes of the parts before this one, of one token and head
  for (const KvShape::Part& part : layout.shape.parts) {
    PagedLayout::Placement place;
    place.region_per_layer = how.region_per_layer;
    const bool apart = how.parts == PartOrder::kApart;
    place.offset = before * block_rows * (apart ? blocks : 1);
    place.block_stride = block_rows * (apart ? part.row_bytes : rows_bytes);
    if (!how.region_per_layer) place.layer_stride = rows_bytes * block_rows * blocks;
    const bool by_token = how.tokens == TokenOrder::kNhd;
    place.token_stride = part.row_bytes * static_cast<std::uint64_t>(by_token ? heads.count : 1);
    place.head_stride = part.row_bytes * static_cast<std::uint64_t>(by_token ? 1 : block_tokens);
    layout.parts.push_back(place);
    before += part.row_bytes;
  }
  return layout;
}

std::uint64_t dense_region_bytes(const PagedLayout& layout, const DenseBlocks& how) {
  std::uint64_t rows_bytes = 0;
  for (const KvShape::Part& part : layout.shape.parts) rows_bytes += part.row_bytes;
  return rows_bytes * static_cast<std::uint64_t>(layout.heads.count) *
         static_cast<std::uint64_t>(layout.block_tokens) * static_cast<std::uint64_t>(how.blocks) *
         static_cast<std::uint64_t>(how.region_per_layer ? 1 : layout.layers.count);
}

}  // namespace baton::kv
