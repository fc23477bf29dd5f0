#include "adapters/http/response_reader.h"

#include <algorithm>
#include <cstring>

namespace baton::adapters::http {

ResponseReader::ResponseReader(std::size_t head_limit, bool head_request)
    : scanner_(head_limit), head_request_(head_request) {}

bool ResponseReader::fail(std::string_view fault) {
  fault_ = fault;
  state_ = State::kBad;
  return false;
}

std::size_t ResponseReader::take_head(std::string_view input) {
  std::size_t taken = 0;
  begun_ = begun_ || !input.empty();
  while (state_ == State::kHead) {
    switch (scanner_.scan(input)) {
      case HeadScanner::Found::kMore: return taken;
      case HeadScanner::Found::kBareLineFeed: fail("lines of its head do not end with CRLF"); break;
      case HeadScanner::Found::kTooLarge: fail("its head is too large"); break;
      case HeadScanner::Found::kEnd:
        if (!parse_head(input.substr(0, scanner_.size()))) break;
        taken += scanner_.size();
        input.remove_prefix(scanner_.size());
        scanner_.reset();
        break;
    }
  }
  return taken;
}

bool ResponseReader::parse_status_line(std::string_view line) {
  // HTTP/1.x SP 3DIGIT [SP reason]
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || (line[7] != '0' && line[7] != '1') ||
      line[8] != ' ' || !all_chars(line.substr(9, 3), kDigit) ||
      (line.size() > 12 && line[12] != ' ') || !all_chars(line.substr(12), kValueChar)) {
    return fail("it does not begin with an HTTP/1.1 status line");
  }
  http10_ = line[7] == '0';
  status_ = static_cast<unsigned>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  return status_ >= 100 || fail("its status is below 100");
}

bool ResponseReader::parse_head(std::string_view head) {
  std::size_t end = head.find("\r\n");
  if (!parse_status_line(head.substr(0, end))) return false;
  fields_.clear();
  for (;;) {
    head.remove_prefix(end + 2);
    end = head.find("\r\n");
    if (end == 0 || end == std::string_view::npos) break;
    FieldLine line;
    if (parse_field(head.substr(0, end), line) != FieldFault::kNone) {
      return fail("a header line is malformed");
    }
    if (fields_.size() == kMaxFields) return fail("it has too many header fields");
    to_lower(fields_.emplace_back(line.name, line.value).first);
  }
  if (status_ == 101) return fail("it switches protocols without having been asked");
  if (status_ < 200) return ++interim_ <= kMaxInterim || fail("too many interim answers");
  return choose_framing();
}

bool ResponseReader::choose_framing() {
  std::string_view length, encoding, connection;
  int lengths = 0, encodings = 0;
  for (const auto& [name, value] : fields_) {
    if (name == "content-length") {
      length = value;
      ++lengths;
    } else if (name == "transfer-encoding") {
      encoding = value;
      ++encodings;
    } else if (name == "connection" && !list_has(connection, "close")) {
      connection = value;
    }
  }
  if (encodings > 0 &&
      (lengths > 0 || encodings > 1 || http10_ || !equals_ignoring_case(encoding, "chunked"))) {
    return fail("its framing by Transfer-Encoding is ambiguous");
  }
  const std::optional<std::int64_t> parsed = parse_length(length);
  if (lengths > 1 || (lengths == 1 && !parsed)) return fail("its Content-Length is malformed");

  keep_alive_ = http10_ ? list_has(connection, "keep-alive") : !list_has(connection, "close");
  if (head_request_ || status_ == 204 || status_ == 304) {
    framing_ = Framing::kNone;
  } else if (encodings > 0) {
    framing_ = Framing::kChunked;
  } else if (lengths > 0) {
    left_ = *parsed;
    framing_ = left_ > 0 ? Framing::kLength : Framing::kNone;
  } else {
    framing_ = Framing::kUntilClose;
    keep_alive_ = false;
  }
  state_ = framing_ == Framing::kNone ? State::kComplete : State::kBody;
  return true;
}

ResponseReader::Piece ResponseReader::take_body(std::span<char> input) {
  const std::string_view text(input.data(), input.size());
  if (state_ != State::kBody) return {0, {}};
  if (framing_ == Framing::kUntilClose) return {input.size(), text};
  if (framing_ == Framing::kLength) {
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(static_cast<std::uint64_t>(left_), input.size()));
    left_ -= static_cast<std::int64_t>(size);
    if (left_ == 0) state_ = State::kComplete;
    return {size, text.substr(0, size)};
  }
  std::size_t taken = 0;
  char* start = nullptr;
  std::size_t joined = 0;
  while (taken < input.size() && chunks_.state() == ChunkDecoder::State::kMore) {
    const ChunkDecoder::Step step = chunks_.next(text.substr(taken));
    if (!step.data.empty()) {
      if (start == nullptr) start = input.data() + (step.data.data() - text.data());
      if (start + joined != step.data.data()) {
        std::memmove(start + joined, step.data.data(), step.data.size());
      }
      joined += step.data.size();
    }
    taken += step.taken;
  }
  if (chunks_.state() == ChunkDecoder::State::kEnd) state_ = State::kComplete;
  if (chunks_.state() == ChunkDecoder::State::kBad) fail("its chunked body is malformed");
  return {taken, {start, joined}};
}

void ResponseReader::end_of_stream() {
  if (state_ == State::kBody && framing_ == Framing::kUntilClose) {
    state_ = State::kComplete;
  } else if (state_ != State::kComplete) {
    fail("it ended early");
  }
}

}  // namespace baton::adapters::http
