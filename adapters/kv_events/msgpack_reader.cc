#include "adapters/kv_events/msgpack_reader.h"

namespace baton::adapters {
namespace {

std::uint64_t sign_extended(std::uint64_t value, std::size_t bytes) {
  const std::size_t unused = 64 - 8 * bytes;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

}  // namespace

// Bytes that are not there count as zero: who takes the head checks its length.
std::uint64_t MsgpackReader::big_endian(std::size_t bytes) const {
  std::uint64_t value = 0;
  for (std::size_t i = 1; i <= bytes; ++i) {
    const auto byte = i < rest_.size() ? static_cast<unsigned char>(rest_[i]) : 0;
    value = value << 8 | byte;
  }
  return value;
}

MsgpackReader::Head MsgpackReader::head() const {
  if (failed_ || rest_.empty()) return {};
  const auto byte = static_cast<unsigned char>(rest_.front());
  if (byte <= 0x7f) return {Kind::kInteger, byte, 0, 1};
  if (byte <= 0x8f) return {Kind::kMap, 0, byte & 0xfU, 1};
  if (byte <= 0x9f) return {Kind::kArray, 0, byte & 0xfU, 1};
  if (byte <= 0xbf) return {Kind::kString, 0, byte & 0x1fU, 1};
  if (byte >= 0xe0) return {Kind::kInteger, sign_extended(byte, 1), 0, 1};
  const auto sized = [this](Kind kind, std::size_t bytes, std::size_t more = 0) {
    return Head{kind, 0, big_endian(bytes) + more, 1 + bytes};
  };
  const auto number = [this](std::size_t bytes, bool is_signed) {
    const std::uint64_t value = big_endian(bytes);
    return Head{Kind::kInteger, is_signed ? sign_extended(value, bytes) : value, 0, 1 + bytes};
  };
  switch (byte) {
    case 0xc0: return {Kind::kNil, 0, 0, 1};
    case 0xc2:
    case 0xc3: return {Kind::kBool, 0, 0, 1};
    case 0xc4: return sized(Kind::kBinary, 1);
    case 0xc5: return sized(Kind::kBinary, 2);
    case 0xc6: return sized(Kind::kBinary, 4);
    case 0xc7: return sized(Kind::kExtension, 1, 1);  // a byte of type comes first
    case 0xc8: return sized(Kind::kExtension, 2, 1);
    case 0xc9: return sized(Kind::kExtension, 4, 1);
    case 0xca: return {Kind::kFloat, 0, 4, 1};
    case 0xcb: return {Kind::kFloat, 0, 8, 1};
    case 0xcc: return number(1, false);
    case 0xcd: return number(2, false);
    case 0xce: return number(4, false);
    case 0xcf: return number(8, false);
    case 0xd0: return number(1, true);
    case 0xd1: return number(2, true);
    case 0xd2: return number(4, true);
    case 0xd3: return number(8, true);
    case 0xd4: return {Kind::kExtension, 0, 2, 1};
    case 0xd5: return {Kind::kExtension, 0, 3, 1};
    case 0xd6: return {Kind::kExtension, 0, 5, 1};
    case 0xd7: return {Kind::kExtension, 0, 9, 1};
    case 0xd8: return {Kind::kExtension, 0, 17, 1};
    case 0xd9: return sized(Kind::kString, 1);
    case 0xda: return sized(Kind::kString, 2);
    case 0xdb: return sized(Kind::kString, 4);
    case 0xdc: return sized(Kind::kArray, 2);
    case 0xdd: return sized(Kind::kArray, 4);
    case 0xde: return sized(Kind::kMap, 2);
    case 0xdf: return sized(Kind::kMap, 4);
    default: return {};  // 0xc1
  }
}

MsgpackReader::Kind MsgpackReader::next() const { return head().kind; }

void MsgpackReader::fail() {
  failed_ = true;
  rest_ = {};
}

// What follows the head takes at least `each` bytes for each of `length`.
std::optional<std::uint64_t> MsgpackReader::take(Kind kind, std::uint64_t Head::* what,
                                                 std::size_t each) {
  const Head found = head();
  if (found.kind == Kind::kEnd) fail();
  if (found.kind != kind) return std::nullopt;
  if (rest_.size() < found.head_bytes || (rest_.size() - found.head_bytes) / each < found.length) {
    fail();
    return std::nullopt;
  }
  rest_.remove_prefix(found.head_bytes);
  return found.*what;
}

std::optional<std::string_view> MsgpackReader::take_bytes(Kind kind) {
  const auto length = take(kind, &Head::length, 1);
  if (!length) return std::nullopt;
  const std::string_view bytes = rest_.substr(0, *length);
  rest_.remove_prefix(*length);
  return bytes;
}

bool MsgpackReader::nil() { return take(Kind::kNil, &Head::length, 1).has_value(); }

std::optional<std::uint64_t> MsgpackReader::integer() {
  return take(Kind::kInteger, &Head::value, 1);
}

std::optional<std::string_view> MsgpackReader::string() { return take_bytes(Kind::kString); }

std::optional<std::string_view> MsgpackReader::binary() { return take_bytes(Kind::kBinary); }

std::optional<std::uint32_t> MsgpackReader::array() {
  const auto length = take(Kind::kArray, &Head::length, 1);
  if (!length) return std::nullopt;
  return static_cast<std::uint32_t>(*length);
}

std::optional<std::uint32_t> MsgpackReader::map() {
  const auto length = take(Kind::kMap, &Head::length, 2);
  if (!length) return std::nullopt;
  return static_cast<std::uint32_t>(*length);
}

bool MsgpackReader::skip() {
  // Values still to be passed over. Each of them is at least a byte of what is left, so that this
  // ends, and it does not overflow: take() saw to it for each array and map.
  for (std::uint64_t values = 1; values > 0; --values) {
    const Kind kind = next();
    switch (kind) {
      case Kind::kEnd: fail(); break;
      case Kind::kArray: values += array().value_or(0); break;
      case Kind::kMap: values += 2 * std::uint64_t{map().value_or(0)}; break;
      default: (void)take_bytes(kind); break;
    }
    if (failed_) return false;
  }
  return true;
}

}  // namespace baton::adapters
