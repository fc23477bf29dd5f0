#include "kv_transfer/measure/block_shape.h"

#include <charconv>

namespace baton::kv {
namespace {

template <class Number>
bool read(std::string_view text, Number most, Number& into) {
  const char* const end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data(), end, into);
  return failure == std::errc() && at == end && into >= 1 && into <= most;
}

}  // namespace

std::string BlockShape::str() const { return std::to_string(blocks) + "x" + std::to_string(bytes); }

std::optional<BlockShape> BlockShape::parse(std::string_view text) {
  const std::size_t times = text.find('x');
  if (times == std::string_view::npos) return std::nullopt;
  BlockShape shape;
  if (!read(text.substr(0, times), kMostBlocks, shape.blocks) ||
      !read(text.substr(times + 1), kMostBytes, shape.bytes)) {
    return std::nullopt;
  }
  return shape;
}

}  // namespace baton::kv
