#include "adapters/http/syntax.h"

#include <algorithm>
#include <cstring>

namespace baton::adapters::http {
namespace {

consteval std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  const auto mark = [&classes](std::string_view chars, int bits) {
    for (const char c : chars) classes[static_cast<unsigned char>(c)] |= bits;
  };
  mark("0123456789", kDigit | kHexDigit | kTokenChar | kTargetChar | kHostChar);
  mark("abcdefABCDEF", kHexDigit);
  mark("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
       kTokenChar | kTargetChar | kHostChar);
  mark("!#$%&'*+-.^_`|~", kTokenChar);
  mark("-._~!$&'()*+,;=", kTargetChar | kHostChar);
  mark(":@/?", kTargetChar);
  mark("\t", kValueChar);
  for (int c = 0x20; c < 0x100; ++c) {
    if (c != 0x7F) classes[static_cast<std::size_t>(c)] |= kValueChar;
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> kClasses = make_classes();

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool is_char(char c, CharClass wanted) {
  return (kClasses[static_cast<unsigned char>(c)] & wanted) != 0;
}

bool all_chars(std::string_view text, CharClass wanted) {
  std::uint8_t common = wanted;
  for (const char c : text) common &= kClasses[static_cast<unsigned char>(c)];
  return common != 0;
}

bool equals_ignoring_case(std::string_view text, std::string_view lower_text) {
  return std::ranges::equal(text, lower_text, {}, lower);
}

void to_lower(std::string& text) {
  for (char& c : text) c = lower(c);
}

std::string_view trim_blanks(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<std::int64_t> parse_length(std::string_view digits) {
  if (digits.empty() || digits.size() > 18 || !all_chars(digits, kDigit)) return std::nullopt;
  if (digits.size() > 1 && digits.front() == '0') return std::nullopt;
  std::int64_t length = 0;
  for (const char c : digits) length = length * 10 + (c - '0');
  return length;
}

std::string_view find_field(const Fields& fields, std::string_view lower_name) {
  for (const auto& [name, value] : fields) {
    if (name == lower_name) return value;
  }
  return {};
}

bool list_has(std::string_view list, std::string_view lower_token) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (equals_ignoring_case(trim_blanks(list.substr(0, comma)), lower_token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

void append_field(std::string& head, std::string_view name, std::string_view value) {
  const std::size_t start = head.size();
  head.append(name).append(": ").append(value);
  for (std::size_t i = start; i < head.size(); ++i) {
    if (!is_char(head[i], kValueChar)) head[i] = ' ';
  }
  head.append("\r\n");
}

std::string_view reason_phrase(unsigned status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

HeadScanner::Found HeadScanner::scan(std::string_view bytes) {
  while (scanned_ < bytes.size()) {
    const void* at = std::memchr(bytes.data() + scanned_, '\n', bytes.size() - scanned_);
    if (at == nullptr) {
      scanned_ = bytes.size();
      break;
    }
    const auto feed = static_cast<std::size_t>(static_cast<const char*>(at) - bytes.data());
    if (feed + 1 > limit_) return Found::kTooLarge;
    if (feed == line_start_ || bytes[feed - 1] != '\r') return Found::kBareLineFeed;
    const bool empty_line = feed - line_start_ == 1;
    scanned_ = line_start_ = feed + 1;
    if (empty_line) return Found::kEnd;
  }
  return scanned_ > limit_ ? Found::kTooLarge : Found::kMore;
}

FieldFault parse_field(std::string_view line, FieldLine& out) {
  if (line.empty()) return FieldFault::kBadName;
  if (line.front() == ' ' || line.front() == '\t') return FieldFault::kFolded;
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return FieldFault::kBadName;
  out.name = line.substr(0, colon);
  if (!all_chars(out.name, kTokenChar)) return FieldFault::kBadName;
  out.value = trim_blanks(line.substr(colon + 1));
  return all_chars(out.value, kValueChar) ? FieldFault::kNone : FieldFault::kBadValue;
}

}  // namespace baton::adapters::http
