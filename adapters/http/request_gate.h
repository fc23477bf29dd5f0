#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "adapters/http/server.h"

namespace baton::adapters::http {

// Why a connection or request was refused before any handler saw it. The label `reason` of
// baton_http_rejected_total.
enum class RefusalReason : std::uint8_t {
  kBadLine,            // line ends or the request line are not HTTP
  kBadMethod,          // CONNECT
  kBadVersion,         // neither 1.0 nor 1.1
  kBadTarget,          // not origin-form, or characters outside RFC 3986
  kBadField,           // field name or value
  kFolded,             // obs-fold
  kBadHost,            // missing, repeated or malformed
  kBadLength,          // Content-Length repeated, a list, zero-padded or no number
  kBadEncoding,        // Transfer-Encoding other than exactly "chunked", or with HTTP/1.0
  kLengthAndEncoding,  // both framings at once
  kBadExpectation,     // Expect other than 100-continue
  kHeadTooLarge,
  kTooManyFields,
  kBodyTooLarge,
  kBadChunk,  // chunk size, extension or trailer malformed or too long
  kTimeout,   // head or body came too slowly
  kTooManyConnections,
  kCount_,
};
inline constexpr std::size_t kRefusalReasons = static_cast<std::size_t>(RefusalReason::kCount_);
[[nodiscard]] std::string_view name_of(RefusalReason reason);

struct Refusal {
  RefusalReason reason = RefusalReason::kBadLine;
  unsigned status = 400;
  std::string_view message;  // a constant; never holds what the client sent
  bool close = true;         // the bytes behind cannot be trusted to be a request
};

// What the head says of the body behind it.
enum class Framing : std::uint8_t { kNone, kLength, kChunked };

struct RequestHead {
  Framing framing = Framing::kNone;
  std::int64_t length = 0;
  bool http10 = false;
  bool keep_alive = true;
  bool expects_continue = false;
};

// Reads one whole head (request line, field lines, empty line) into `request` and refuses every
// framing that two HTTP parsers could take in two ways. Pure. What it lets through obeys RFC 9112
// strictly; field names come out lower-case, values without blanks around them.
[[nodiscard]] std::expected<RequestHead, Refusal> examine_head(std::string_view head,
                                                               int max_fields, Request& request);

// The body of a refusal, as OpenAI shapes its errors.
[[nodiscard]] std::string refusal_body(const Refusal& refusal);

}  // namespace baton::adapters::http
