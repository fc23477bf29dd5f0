#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace baton::adapters {

// Reads MessagePack from front to back, without a tree. Borrows the bytes. A read of another type
// than what comes next gives nothing and moves nothing; after a read past the end, or of the
// unassigned byte 0xc1, failed() is true and every further read gives nothing. Never throws; the
// work is linear in the bytes. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
class MsgpackReader {
 public:
  enum class Kind : std::uint8_t {
    kEnd,  // nothing left, or failed()
    kNil,
    kBool,
    kInteger,
    kFloat,
    kString,
    kBinary,
    kArray,
    kMap,
    kExtension,
  };

  explicit MsgpackReader(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] Kind next() const;
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] std::size_t left() const { return rest_.size(); }

  [[nodiscard]] bool nil();  // was it?
  // A negative number as its two's complement.
  [[nodiscard]] std::optional<std::uint64_t> integer();
  [[nodiscard]] std::optional<std::string_view> string();
  [[nodiscard]] std::optional<std::string_view> binary();
  // Elements, or pairs of key and value, that follow; more than bytes are left for is a failure.
  [[nodiscard]] std::optional<std::uint32_t> array();
  [[nodiscard]] std::optional<std::uint32_t> map();
  // Passes over one value with all that is in it. False: failed().
  bool skip();

 private:
  struct Head {
    Kind kind = Kind::kEnd;
    std::uint64_t value = 0;   // of an integer
    std::uint64_t length = 0;  // bytes behind the head, or elements, or pairs
    std::size_t head_bytes = 0;
  };
  [[nodiscard]] Head head() const;
  [[nodiscard]] std::uint64_t big_endian(std::size_t bytes) const;  // behind the first byte
  std::optional<std::uint64_t> take(Kind kind, std::uint64_t Head::* what, std::size_t each);
  std::optional<std::string_view> take_bytes(Kind kind);
  void fail();

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace baton::adapters
