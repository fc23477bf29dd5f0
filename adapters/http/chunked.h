#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace baton::adapters::http {

// Takes the chunked coding off a body that comes in pieces (RFC 9112 §7.1). Owned by the reader of
// one message; holds no bytes. Strict: CRLF alone ends a line, a size has 1 to 16 hex digits,
// extensions are skipped and trailer fields dropped, both within a limit over the whole message.
class ChunkDecoder {
 public:
  enum class State : std::uint8_t { kMore, kEnd, kBad };
  struct Step {
    std::size_t taken;      // from the front of the input
    std::string_view data;  // within what was taken; empty where it was framing alone
  };
  // Takes framing up to and with the next piece of data, or all of `input`. Call until it takes
  // nothing, or the state is final.
  Step next(std::string_view input);
  [[nodiscard]] State state() const { return state_; }

 private:
  static constexpr std::size_t kMaxSizeDigits = 16;
  static constexpr std::size_t kMaxSkipped = 8192;  // extensions and trailers together
  enum class At : std::uint8_t {
    kSize,
    kExtension,
    kSizeLineFeed,
    kData,
    kDataReturn,
    kDataLineFeed,
    kTrailerStart,
    kTrailer,
    kTrailerLineFeed,
    kLastLineFeed,
  };
  bool step_framing(char c);  // false: malformed
  bool skip(char c);
  bool end_size_line();

  At at_ = At::kSize;
  State state_ = State::kMore;
  std::size_t digits_ = 0;
  std::size_t skipped_ = 0;
  std::uint64_t left_ = 0;  // of the current chunk
};

}  // namespace baton::adapters::http
