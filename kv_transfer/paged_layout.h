#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton::kv {

// What engines must have in common to exchange KV, however each lays it out.
struct KvShape {
  // One part of a token's KV in a layer: keys, values, an MLA latent, scales of a quantised cache.
  struct Part {
    std::string name;             // as "k", "v", "latent"
    std::uint32_t row_bytes = 0;  // of one token and head
    bool operator==(const Part&) const = default;
  };

  std::string model;  // fingerprint of the weights
  std::string dtype;  // element type, as "bf16"
  int layers = 0;
  int kv_heads = 0;  // 1 where all heads share a latent
  std::vector<Part> parts;
  bool operator==(const KvShape&) const = default;

  // XXH3-64 of all of it; never 0.
  [[nodiscard]] std::uint64_t hash() const;
};

struct IndexRange {
  int first = 0;
  int count = 0;
  [[nodiscard]] int end() const { return first + count; }
  [[nodiscard]] bool contains(int index) const { return index >= first && index < end(); }
  bool operator==(const IndexRange&) const = default;
};

// Where one rank of an engine keeps its share of the KV: the row (see KvShape::Part) of part p,
// layer l, block b, head h and token t, each counted from the rank's first, begins in region
// `region` (+ l with region_per_layer) at
//   offset + l·layer_stride + b·block_stride + h·head_stride + t·token_stride.
// So NHD and HND, interleaved keys and values, padding and slices of larger tensors are all alike.
struct PagedLayout {
  struct Placement {
    std::uint32_t region = 0;  // number of a registered region
    bool region_per_layer = false;
    std::uint64_t offset = 0;        // bytes, as the strides
    std::uint64_t layer_stride = 0;  // not used with region_per_layer
    std::uint64_t block_stride = 0;
    std::uint64_t head_stride = 0;
    std::uint64_t token_stride = 0;
  };

  KvShape shape;
  IndexRange layers;  // of the model's, that this rank has (pipeline parallelism)
  IndexRange heads;   // likewise (tensor parallelism); ranks beyond the heads hold replicas
  int block_tokens = 0;
  std::vector<Placement> parts;  // as shape.parts

  static constexpr std::uint32_t kMostBlocks = 1U << 24;

  // Errors: kInvalidArgument, naming what is wrong. A layout may come from a peer.
  [[nodiscard]] Result<void> check() const;
};

enum class TokenOrder : std::uint8_t { kNhd, kHnd };  // of a block: token, head or head, token
enum class PartOrder : std::uint8_t {
  kApart,     // each part has its own stretch of blocks: [part, block, …]
  kPerBlock,  // a block holds its parts one after the other: [block, part, …]
};

// The placements of an engine that packs its blocks densely, with one region for each layer from
// number 0 on, or all layers one after the other in region 0. vLLM's FlashAttention backend has
// kNhd or kHnd and kApart, its FlashInfer backend kPerBlock, MLA one part (of which kApart is all).
struct DenseBlocks {
  int blocks = 0;
  TokenOrder tokens = TokenOrder::kNhd;
  PartOrder parts = PartOrder::kApart;
  bool region_per_layer = true;
};
[[nodiscard]] PagedLayout dense_layout(KvShape shape, IndexRange layers, IndexRange heads,
                                       int block_tokens, const DenseBlocks& how);
// Bytes of one of its regions.
[[nodiscard]] std::uint64_t dense_region_bytes(const PagedLayout& layout, const DenseBlocks& how);

}  // namespace baton::kv
