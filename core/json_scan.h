#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace baton::json {

// Shared by the scanner, the cursor and the quoting functions; nobody else's business.

// The first byte of [at, end) that needs a look inside a JSON string: a quote, a backslash, a
// control character, or anything beyond ASCII. Eight bytes at a time (SWAR: the subtraction borrows
// into a byte only from one that is a hit itself, so no hit is missed, and a byte loop confirms
// it).
[[nodiscard]] inline const char* find_special(const char* at, const char* end) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHighs = kOnes * 0x80;
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    const std::uint64_t quote = word ^ (kOnes * '"');
    const std::uint64_t backslash = word ^ (kOnes * '\\');
    const std::uint64_t hit = word | ((quote - kOnes) & ~quote) |
                              ((backslash - kOnes) & ~backslash) | ((word - kOnes * 0x20) & ~word);
    if ((hit & kHighs) != 0) break;
    at += 8;
  }
  for (; at < end; ++at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte == '"' || byte == '\\' || byte < 0x20 || byte >= 0x80) break;
  }
  return at;
}

// Length of the well-formed UTF-8 sequence of two to four bytes at `at` (RFC 3629: no overlong
// forms, no surrogates, nothing above U+10FFFF); 0: not one.
[[nodiscard]] inline std::size_t utf8_length(const char* at, const char* end) {
  const auto byte = [&](std::ptrdiff_t i) { return static_cast<unsigned char>(at[i]); };
  const auto continues = [&](std::ptrdiff_t i) { return i < end - at && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;
    if (lead == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// The value of four hex digits at `at`, or -1.
[[nodiscard]] inline int hex4(const char* at, const char* end) {
  if (end - at < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at[i];
    int digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

[[nodiscard]] constexpr bool is_high_surrogate(int unit) {
  return unit >= 0xD800 && unit <= 0xDBFF;
}
[[nodiscard]] constexpr bool is_low_surrogate(int unit) { return unit >= 0xDC00 && unit <= 0xDFFF; }

}  // namespace baton::json
