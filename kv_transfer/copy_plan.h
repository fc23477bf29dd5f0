#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "kv_transfer/paged_layout.h"

namespace baton::kv {

// One rank's side of a copy: its layout and the blocks in which a sequence lies there. Block i
// holds the tokens [i·block_tokens, (i + 1)·block_tokens).
struct KvHolder {
  const PagedLayout* layout = nullptr;
  std::span<const std::uint32_t> blocks;
};

// By position in the sequence.
struct TokenRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

// `count` chunks of `bytes` each, at equal distances on both sides.
struct CopyRun {
  std::uint32_t source_region = 0;
  std::uint32_t target_region = 0;
  std::uint64_t source = 0;  // offset of the first chunk in its region
  std::uint64_t target = 0;
  std::uint64_t bytes = 0;
  std::uint64_t source_stride = 0;  // 0 where there is one chunk
  std::uint64_t target_stride = 0;
  std::uint64_t count = 1;
  bool operator==(const CopyRun&) const = default;
};

struct CopyFrom {
  std::size_t source = 0;  // which of the sources
  std::vector<CopyRun> runs;
  bool operator==(const CopyFrom&) const = default;
};

// The runs that fill the target rank's share of these tokens: every byte of it once and no other.
// `sources` are the ranks that hold the sequence; between them they hold every layer and head of
// the target. Heads that several hold (replicas, or an MLA latent, which all hold) are read from
// one of them: the `turn`th in turn, so that target ranks with turns 0, 1, … spread over the
// replicas. Neighbouring blocks are taken together, in whatever order the sequence has them. Tokens
// that the target holds already are left out by where `tokens` begins. Errors: kUnsupported (shapes
// that differ), kInvalidArgument (a bad layout, too few blocks, a head or a layer that nobody
// holds), each naming what.
[[nodiscard]] Result<std::vector<CopyFrom>> plan_copy(std::span<const KvHolder> sources,
                                                      const KvHolder& target, TokenRange tokens,
                                                      std::size_t turn);

}  // namespace baton::kv
