#include "adapters/http/request_gate.h"

#include <algorithm>
#include <utility>

#include "adapters/http/syntax.h"

namespace baton::adapters::http {
namespace {

using Verdict = std::expected<void, Refusal>;

std::unexpected<Refusal> refuse(RefusalReason reason, unsigned status, std::string_view message) {
  return std::unexpected(Refusal{reason, status, message});
}

Verdict check_target(std::string_view target) {
  if (target.empty() || target.front() != '/') {
    return refuse(RefusalReason::kBadTarget, 400,
                  "The request target must be a path that starts with '/'.");
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (is_char(target[i], kTargetChar)) continue;
    const bool escaped = target[i] == '%' && i + 2 < target.size() &&
                         is_char(target[i + 1], kHexDigit) && is_char(target[i + 2], kHexDigit);
    if (!escaped) {
      return refuse(RefusalReason::kBadTarget, 400,
                    "The request target holds a character that must be percent-encoded.");
    }
    i += 2;
  }
  return {};
}

Verdict check_request_line(std::string_view line, Request& request, RequestHead& head) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return refuse(RefusalReason::kBadLine, 400, "The request line is not 'METHOD /path HTTP/1.1'.");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (method.empty() || !all_chars(method, kTokenChar)) {
    return refuse(RefusalReason::kBadLine, 400, "The request method is not a token.");
  }
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_char(version[5], kDigit) ||
      version[6] != '.' || !is_char(version[7], kDigit)) {
    return refuse(RefusalReason::kBadLine, 400, "The request line is not 'METHOD /path HTTP/1.1'.");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return refuse(RefusalReason::kBadVersion, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
  }
  if (method == "CONNECT") {
    return refuse(RefusalReason::kBadMethod, 405, "CONNECT is not offered.");
  }
  if (Verdict ok = check_target(target); !ok) return ok;
  request.method = method;
  request.target = target;
  head.http10 = version.back() == '0';
  return {};
}

// RFC 9110 §7.2: uri-host [ ":" port ]; an empty host means nothing for http.
bool is_host(std::string_view host) {
  std::size_t end = 0;
  if (host.starts_with('[')) {
    end = host.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    const auto address_char = [](char c) { return is_char(c, kHexDigit) || c == ':' || c == '.'; };
    if (!std::ranges::all_of(host.substr(1, end - 1), address_char)) return false;
    ++end;
  } else {
    end = std::min(host.find(':'), host.size());
    if (end == 0) return false;
    for (std::size_t i = 0; i < end; ++i) {
      if (is_char(host[i], kHostChar)) continue;
      if (host[i] != '%' || i + 2 >= end || !is_char(host[i + 1], kHexDigit) ||
          !is_char(host[i + 2], kHexDigit)) {
        return false;
      }
      i += 2;
    }
  }
  if (end == host.size()) return true;
  const std::string_view port = host.substr(end + 1);
  return host[end] == ':' && port.size() <= 5 && (port.empty() || all_chars(port, kDigit));
}

std::unexpected<Refusal> refuse_field(FieldFault fault) {
  if (fault == FieldFault::kFolded) {
    return refuse(RefusalReason::kFolded, 400, "A header field is folded over two lines.");
  }
  return refuse(RefusalReason::kBadField, 400,
                fault == FieldFault::kBadName ? "A header line is not 'name: value'."
                                              : "A header value holds a control character.");
}

// The fields that decide where the message ends, and how often each was seen.
struct FramingFields {
  std::string_view host, length, encoding, expect, connection;
  int hosts = 0, lengths = 0, encodings = 0;
};

void note_field(const std::string& name, std::string_view value, FramingFields& seen) {
  switch (name.size()) {
    case 4:
      if (name == "host") {
        seen.host = value;
        ++seen.hosts;
      }
      break;
    case 6:
      if (name == "expect") seen.expect = value;
      break;
    case 10:
      // Of several lines, one with "close" decides.
      if (name == "connection" && !list_has(seen.connection, "close")) seen.connection = value;
      break;
    case 14:
      if (name == "content-length") {
        seen.length = value;
        ++seen.lengths;
      }
      break;
    case 17:
      if (name == "transfer-encoding") {
        seen.encoding = value;
        ++seen.encodings;
      }
      break;
    default: break;
  }
}

Verdict check_framing(const FramingFields& seen, RequestHead& head) {
  if (seen.hosts > 1 || (seen.hosts == 0 && !head.http10) ||
      (seen.hosts == 1 && !is_host(seen.host))) {
    return refuse(RefusalReason::kBadHost, 400, "Exactly one valid Host field is required.");
  }
  if (seen.encodings > 0 && seen.lengths > 0) {
    return refuse(RefusalReason::kLengthAndEncoding, 400,
                  "Content-Length and Transfer-Encoding exclude each other.");
  }
  if (seen.encodings > 0) {
    if (head.http10) {
      return refuse(RefusalReason::kBadEncoding, 400, "HTTP/1.0 has no Transfer-Encoding.");
    }
    if (seen.encodings > 1 || !equals_ignoring_case(seen.encoding, "chunked")) {
      return refuse(RefusalReason::kBadEncoding, 501,
                    "The only Transfer-Encoding understood is 'chunked', once.");
    }
    head.framing = Framing::kChunked;
  } else if (seen.lengths > 0) {
    const std::optional<std::int64_t> length = parse_length(seen.length);
    if (seen.lengths > 1 || !length) {
      return refuse(RefusalReason::kBadLength, 400,
                    "Content-Length must be one decimal number without leading zeros.");
    }
    head.framing = *length > 0 ? Framing::kLength : Framing::kNone;
    head.length = *length;
  }
  if (!seen.expect.empty()) {
    if (!equals_ignoring_case(seen.expect, "100-continue")) {
      return refuse(RefusalReason::kBadExpectation, 417,
                    "The only expectation understood is '100-continue'.");
    }
    head.expects_continue = head.framing != Framing::kNone && !head.http10;
  }
  head.keep_alive =
      head.http10 ? list_has(seen.connection, "keep-alive") : !list_has(seen.connection, "close");
  return {};
}

}  // namespace

std::expected<RequestHead, Refusal> examine_head(std::string_view head, int max_fields,
                                                 Request& request) {
  RequestHead verdict;
  std::size_t end = head.find("\r\n");
  if (Verdict ok = check_request_line(head.substr(0, end), request, verdict); !ok) {
    return std::unexpected(ok.error());
  }
  request.fields.clear();
  request.fields.reserve(16);
  FramingFields seen;
  for (;;) {
    head.remove_prefix(end + 2);
    end = head.find("\r\n");
    if (end == 0 || end == std::string_view::npos) break;
    FieldLine line;
    if (const FieldFault fault = parse_field(head.substr(0, end), line);
        fault != FieldFault::kNone) {
      return refuse_field(fault);
    }
    if (std::cmp_greater_equal(request.fields.size(), max_fields)) {
      return refuse(RefusalReason::kTooManyFields, 431, "The request has too many header fields.");
    }
    std::string& name = request.fields.emplace_back(line.name, line.value).first;
    to_lower(name);
    note_field(name, line.value, seen);
  }
  if (Verdict ok = check_framing(seen, verdict); !ok) return std::unexpected(ok.error());
  return verdict;
}

std::string_view name_of(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kBadLine: return "bad_line";
    case RefusalReason::kBadMethod: return "bad_method";
    case RefusalReason::kBadVersion: return "bad_version";
    case RefusalReason::kBadTarget: return "bad_target";
    case RefusalReason::kBadField: return "bad_field";
    case RefusalReason::kFolded: return "folded_field";
    case RefusalReason::kBadHost: return "bad_host";
    case RefusalReason::kBadLength: return "bad_length";
    case RefusalReason::kBadEncoding: return "bad_transfer_encoding";
    case RefusalReason::kLengthAndEncoding: return "length_and_encoding";
    case RefusalReason::kBadExpectation: return "bad_expectation";
    case RefusalReason::kHeadTooLarge: return "head_too_large";
    case RefusalReason::kTooManyFields: return "too_many_fields";
    case RefusalReason::kBodyTooLarge: return "body_too_large";
    case RefusalReason::kBadChunk: return "bad_chunk";
    case RefusalReason::kTimeout: return "timeout";
    case RefusalReason::kTooManyConnections: return "too_many_connections";
    case RefusalReason::kCount_: break;
  }
  return "unknown";
}

std::string refusal_body(const Refusal& refusal) {
  std::string body = R"({"error":{"message":")";
  body += refusal.message;
  body += R"(","type":")";
  body += refusal.status < 500 ? "invalid_request_error" : "server_error";
  body += R"(","param":null,"code":")";
  body += name_of(refusal.reason);
  body += R"("}})";
  return body;
}

}  // namespace baton::adapters::http
