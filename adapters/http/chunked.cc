#include "adapters/http/chunked.h"

#include <algorithm>

#include "adapters/http/syntax.h"

namespace baton::adapters::http {
namespace {

std::uint64_t hex_value(char c) {
  if (c <= '9') return static_cast<std::uint64_t>(c - '0');
  return static_cast<std::uint64_t>((c | 0x20) - 'a' + 10);
}

}  // namespace

ChunkDecoder::Step ChunkDecoder::next(std::string_view input) {
  std::size_t taken = 0;
  while (taken < input.size() && state_ == State::kMore) {
    if (at_ == At::kData) {
      const std::string_view data = input.substr(
          taken, static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size())));
      left_ -= data.size();
      if (left_ == 0) at_ = At::kDataReturn;
      return {taken + data.size(), data};
    }
    if (!step_framing(input[taken++])) state_ = State::kBad;
  }
  return {taken, {}};
}

bool ChunkDecoder::skip(char c) { return is_char(c, kValueChar) && ++skipped_ <= kMaxSkipped; }

bool ChunkDecoder::end_size_line() {
  at_ = left_ > 0 ? At::kData : At::kTrailerStart;
  digits_ = 0;
  return true;
}

bool ChunkDecoder::step_framing(char c) {
  switch (at_) {
    case At::kSize:
      if (is_char(c, kHexDigit)) {
        left_ = left_ << 4 | hex_value(c);
        return ++digits_ <= kMaxSizeDigits;
      }
      if (digits_ == 0) return false;
      at_ = c == '\r' ? At::kSizeLineFeed : At::kExtension;
      return c == '\r' || (c == ';' && skip(c));
    case At::kExtension:
      if (c != '\r') return skip(c);
      at_ = At::kSizeLineFeed;
      return true;
    case At::kSizeLineFeed: return c == '\n' && end_size_line();
    case At::kData: return false;
    case At::kDataReturn: at_ = At::kDataLineFeed; return c == '\r';
    case At::kDataLineFeed: at_ = At::kSize; return c == '\n';
    case At::kTrailerStart:
      at_ = c == '\r' ? At::kLastLineFeed : At::kTrailer;
      return c == '\r' || (is_char(c, kTokenChar) && skip(c));
    case At::kTrailer:
      if (c != '\r') return skip(c);
      at_ = At::kTrailerLineFeed;
      return true;
    case At::kTrailerLineFeed: at_ = At::kTrailerStart; return c == '\n';
    case At::kLastLineFeed: state_ = State::kEnd; return c == '\n';
  }
  return false;
}

}  // namespace baton::adapters::http
