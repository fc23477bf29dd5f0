#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "adapters/http/server.h"

namespace baton::adapters::http {

// Character classes of RFC 9110 and RFC 3986, as bits.
enum CharClass : std::uint8_t {
  kTokenChar = 1,   // RFC 9110 §5.6.2
  kTargetChar = 2,  // pchar, "/" and "?" without "%" (RFC 3986 §3.3)
  kValueChar = 4,   // field-vchar, SP and HTAB (RFC 9110 §5.5)
  kHostChar = 8,    // reg-name without "%" (RFC 3986 §3.2.2)
  kDigit = 16,
  kHexDigit = 32,
};

[[nodiscard]] bool is_char(char c, CharClass wanted);
[[nodiscard]] bool all_chars(std::string_view text, CharClass wanted);
[[nodiscard]] bool equals_ignoring_case(std::string_view text, std::string_view lower);
void to_lower(std::string& text);
[[nodiscard]] std::string_view trim_blanks(std::string_view text);  // SP and HTAB

// Digits alone, no sign, no leading zero, at most 18 of them.
[[nodiscard]] std::optional<std::int64_t> parse_length(std::string_view digits);

[[nodiscard]] std::string_view find_field(const Fields& fields, std::string_view lower_name);
// True if the comma-separated list holds `lower_token`, in any case.
[[nodiscard]] bool list_has(std::string_view list, std::string_view lower_token);

// Appends "name: value\r\n". Characters that would end the line become spaces, so that no value can
// add a field of its own.
void append_field(std::string& head, std::string_view name, std::string_view value);
[[nodiscard]] std::string_view reason_phrase(unsigned status);

// Finds the end of a head that comes in pieces. Lines must end with CRLF: a bare LF ends parsing.
class HeadScanner {
 public:
  enum class Found : std::uint8_t { kMore, kEnd, kBareLineFeed, kTooLarge };
  explicit HeadScanner(std::size_t limit) : limit_(limit) {}
  // `bytes` starts with the head each time, with more behind it than the last time.
  Found scan(std::string_view bytes);
  [[nodiscard]] std::size_t size() const { return scanned_; }  // with the empty line, after kEnd
  void reset() { scanned_ = line_start_ = 0; }

 private:
  std::size_t limit_;
  std::size_t scanned_ = 0;
  std::size_t line_start_ = 0;
};

// One line "name: value" of a head.
struct FieldLine {
  std::string_view name;
  std::string_view value;
};
enum class FieldFault : std::uint8_t { kNone, kFolded, kBadName, kBadValue };
[[nodiscard]] FieldFault parse_field(std::string_view line, FieldLine& out);

}  // namespace baton::adapters::http
