#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/units.h"

namespace baton::kv {

// What a measured hand-off moves: so many blocks of so many bytes.
struct BlockShape {
  int blocks = 0;
  std::uint32_t bytes = 0;
  bool operator==(const BlockShape&) const = default;

  static constexpr int kMostBlocks = 65536;              // of one lease
  static constexpr std::uint32_t kMostBytes = 1U << 31;  // of one block

  [[nodiscard]] Bytes total() const { return Bytes(std::int64_t{blocks} * bytes); }
  [[nodiscard]] std::string str() const;  // as parse() takes it
  // Of BLOCKSxBYTES, as 1024x65536; none: it is not that, or beyond what one lease can have.
  [[nodiscard]] static std::optional<BlockShape> parse(std::string_view text);
};

}  // namespace baton::kv
