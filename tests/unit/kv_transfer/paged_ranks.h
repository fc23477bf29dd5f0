#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kv_transfer/copy_plan.h"

namespace baton::kv {

using Blocks = std::vector<std::uint32_t>;
using Regions = std::vector<std::vector<std::uint8_t>>;

inline Blocks upwards(std::uint32_t first, std::size_t count) {
  Blocks blocks(count);
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

// A rank with its memory and where the sequence lies in it.
struct Rank {
  PagedLayout layout;
  Blocks blocks;
  Regions regions;

  [[nodiscard]] KvHolder holder() const { return {&layout, blocks}; }
  // The row of a part, model layer, model head and token of the sequence.
  std::uint8_t* row(std::size_t part, int layer, int head, std::int64_t token) {
    const PagedLayout::Placement& place = layout.parts[part];
    const auto at = [](auto index) { return static_cast<std::uint64_t>(index); };
    const std::uint64_t block = blocks[at(token / layout.block_tokens)];
    const int own = layer - layout.layers.first;
    return &regions.at(place.region + (place.region_per_layer ? at(own) : 0))
                .at(place.offset + (place.region_per_layer ? 0 : at(own) * place.layer_stride) +
                    block * place.block_stride + at(head - layout.heads.first) * place.head_stride +
                    at(token % layout.block_tokens) * place.token_stride);
  }
};

// Systems of a few ranks with all that can differ drawn at random.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : rng_(seed) {}

  int upto(int most) { return 1 + static_cast<int>(rng_() % static_cast<std::uint64_t>(most)); }
  bool coin() { return rng_() % 2 == 0; }

  KvShape shape() {
    KvShape shape{"m", "t", upto(3), coin() ? 1 : upto(6), {}};
    static constexpr const char* kNames[] = {"k", "v", "scale"};
    const int parts = upto(3);
    for (int i = 0; i < parts; ++i) {
      shape.parts.push_back({kNames[i], static_cast<std::uint32_t>(upto(5))});
    }
    return shape;
  }

  // All ranks of one engine: pipeline stages of tensor-parallel ranks, with replicas.
  std::vector<Rank> engine(const KvShape& shape, std::int64_t tokens) {
    std::vector<Rank> ranks;
    const int stages = upto(shape.layers);
    const int shards = upto(shape.kv_heads);
    const int replicas = upto(3);
    const int block_tokens = upto(6);
    DenseBlocks how;
    how.blocks = static_cast<int>(tokens) / block_tokens + upto(4);
    how.tokens = coin() ? TokenOrder::kNhd : TokenOrder::kHnd;
    how.parts = coin() ? PartOrder::kApart : PartOrder::kPerBlock;
    how.region_per_layer = coin();
    const Blocks blocks = table(how.blocks, tokens, block_tokens);
    for (int stage = 0; stage < stages; ++stage) {
      for (int shard = 0; shard < shards; ++shard) {
        for (int copy = 0; copy < replicas; ++copy) {
          ranks.push_back(rank(shape, slice(shape.layers, stage, stages),
                               slice(shape.kv_heads, shard, shards), block_tokens, how, blocks));
        }
      }
    }
    return ranks;
  }

 private:
  static IndexRange slice(int all, int index, int count) {
    const int first = all * index / count;
    return {first, all * (index + 1) / count - first};
  }

  Blocks table(int blocks, std::int64_t tokens, int block_tokens) {
    Blocks all = upwards(0, static_cast<std::size_t>(blocks));
    if (coin()) std::ranges::shuffle(all, rng_);
    if (coin()) std::ranges::reverse(all);
    all.resize(static_cast<std::size_t>((tokens + block_tokens - 1) / block_tokens));
    return all;
  }

  Rank rank(const KvShape& shape, IndexRange layers, IndexRange heads, int block_tokens,
            const DenseBlocks& how, const Blocks& blocks) {
    Rank rank{dense_layout(shape, layers, heads, block_tokens, how), blocks, {}};
    std::uint64_t bytes = dense_region_bytes(rank.layout, how);
    const std::uint64_t shift = coin() ? static_cast<std::uint64_t>(upto(7)) : 0;
    const std::uint32_t first_region = coin() ? 1 : 0;
    for (PagedLayout::Placement& place : rank.layout.parts) {
      place.offset += shift;
      place.region = first_region;
      if (coin()) {  // padding behind each block
        place.block_stride += 3;
        bytes += 3 * static_cast<std::uint64_t>(how.blocks);
      }
    }
    // Padded parts would run into each other: each gets regions of its own.
    bytes = (bytes + shift) * 4;
    const std::uint32_t regions =
        how.region_per_layer ? static_cast<std::uint32_t>(layers.count) : 1;
    for (std::size_t i = 0; i < rank.layout.parts.size(); ++i) {
      rank.layout.parts[i].region += static_cast<std::uint32_t>(i) * regions;
      if (!how.region_per_layer) rank.layout.parts[i].layer_stride += bytes;
    }
    if (!how.region_per_layer) bytes *= static_cast<std::uint64_t>(layers.count) + 1;
    rank.regions.resize(first_region + regions * rank.layout.parts.size());
    for (auto& region : rank.regions) {
      region.resize(bytes);
      for (std::uint8_t& byte : region) byte = static_cast<std::uint8_t>(rng_());
    }
    return rank;
  }

  std::mt19937_64 rng_;
};

// Fills replicas alike, as an engine keeps them.
inline void fill(std::vector<Rank>& ranks, std::int64_t tokens) {
  for (Rank& rank : ranks) {
    for (std::size_t part = 0; part < rank.layout.parts.size(); ++part) {
      for (int layer = rank.layout.layers.first; layer < rank.layout.layers.end(); ++layer) {
        for (int head = rank.layout.heads.first; head < rank.layout.heads.end(); ++head) {
          for (std::int64_t token = 0; token < tokens; ++token) {
            std::uint8_t* row = rank.row(part, layer, head, token);
            for (std::uint32_t byte = 0; byte < rank.layout.shape.parts[part].row_bytes; ++byte) {
              row[byte] = static_cast<std::uint8_t>(
                  (static_cast<std::uint64_t>(token) * 31 + static_cast<std::uint64_t>(head)) * 37 +
                  (static_cast<std::uint64_t>(layer) * 3 + part) * 11 + byte);
            }
          }
        }
      }
    }
  }
}

// The reference of a run: byte after byte.
inline void copy_run(const CopyRun& run, const Regions& sources, Regions& targets) {
  const auto& source = sources.at(run.source_region);
  auto& target = targets.at(run.target_region);
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t from = run.source + i * run.source_stride;
    const std::uint64_t into = run.target + i * run.target_stride;
    ASSERT_LE(from + run.bytes, source.size());
    ASSERT_LE(into + run.bytes, target.size());
    std::copy_n(&source[from], run.bytes, &target[into]);
  }
}

// What the target must be: each element on its own, from whoever holds it.
inline Rank naive(std::vector<Rank>& sources, Rank target, TokenRange tokens) {
  for (std::size_t part = 0; part < target.layout.parts.size(); ++part) {
    for (int layer = target.layout.layers.first; layer < target.layout.layers.end(); ++layer) {
      for (int head = target.layout.heads.first; head < target.layout.heads.end(); ++head) {
        const auto holder = std::ranges::find_if(sources, [&](const Rank& rank) {
          return rank.layout.layers.contains(layer) && rank.layout.heads.contains(head);
        });
        for (std::int64_t token = tokens.first; token < tokens.end; ++token) {
          std::memcpy(target.row(part, layer, head, token), holder->row(part, layer, head, token),
                      target.layout.shape.parts[part].row_bytes);
        }
      }
    }
  }
  return target;
}

}  // namespace baton::kv
