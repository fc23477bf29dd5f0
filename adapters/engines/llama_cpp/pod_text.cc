#include "adapters/engines/llama_cpp/pod_text.h"

#include <algorithm>
#include <utility>

namespace baton::adapters {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct Sequence {
  enum Kind { kComplete, kTruncated, kWrong } kind;
  std::size_t size;  // of the character, or of the maximal part that is like one's beginning
};

// The first character of `bytes` (not empty), by table 3-7 of the Unicode standard.
Sequence first_sequence(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Sequence::kComplete, 1};
  std::size_t size = 0;
  unsigned char low = 0x80, high = 0xbf;  // of the second byte
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    if (lead == 0xe0) low = 0xa0;   // overlong
    if (lead == 0xed) high = 0x9f;  // surrogates
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    if (lead == 0xf0) low = 0x90;   // overlong
    if (lead == 0xf4) high = 0x8f;  // beyond U+10FFFF
  } else {
    return {Sequence::kWrong, 1};
  }
  for (std::size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {Sequence::kTruncated, i};
    if (byte(i) < low || byte(i) > high) return {Sequence::kWrong, i};
    low = 0x80;
    high = 0xbf;
  }
  return {Sequence::kComplete, size};
}

// Moves whole characters from `bytes` to the result; what is left is a beginning or nothing.
std::string take_characters(std::string_view& bytes) {
  std::string out;
  while (!bytes.empty()) {
    const Sequence sequence = first_sequence(bytes);
    if (sequence.kind == Sequence::kTruncated) break;
    if (sequence.kind == Sequence::kComplete) {
      out += bytes.substr(0, sequence.size);
    } else {
      out += kReplacement;
    }
    bytes.remove_prefix(sequence.size);
  }
  return out;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string_view rest = held_;
  std::string out = take_characters(rest);
  held_ = std::string(rest);
  return out;
}

std::string Utf8Stream::flush() {
  const bool begun = !held_.empty();
  held_.clear();
  return std::string(begun ? kReplacement : "");
}

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t first = std::string::npos, first_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (at + stop.size() < first_end || (at + stop.size() == first_end && at < first)) {
      first = at;
      first_end = at + stop.size();
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, {}).substr(0, first);
  }
  std::size_t keep = 0;  // the longest end of held_ that begins a stop string
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopMatcher::flush() { return std::exchange(held_, {}); }

std::string to_valid_utf8(std::string_view bytes) {
  Utf8Stream stream;
  std::string out = stream.push(bytes);
  out += stream.flush();
  return out;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

}  // namespace baton::adapters
