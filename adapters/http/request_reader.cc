#include "adapters/http/request_reader.h"

#include <algorithm>

namespace baton::adapters::http {
namespace {

// What a connection keeps of its last body's memory.
constexpr std::size_t kKeptBody = 4096;
// A declared length is believed only so far before its bytes came.
constexpr std::size_t kFirstBodySpace = 256 << 10;

void resize_uninitialized(std::string& text, std::size_t size) {
  // The lambda's own argument may be the capacity instead (libstdc++ 12).
  text.resize_and_overwrite(size, [size](char*, std::size_t) { return size; });
}

}  // namespace

RequestReader::RequestReader(const ServerLimits& limits)
    : max_body_(limits.body.count()),
      max_fields_(limits.fields),
      scanner_(static_cast<std::size_t>(limits.header.count())) {}

void RequestReader::reset() {
  scanner_.reset();
  state_ = State::kHead;
  begun_ = skipped_line_ = discarding_ = false;
  seen_ = 0;
  filled_ = 0;
  chunks_ = {};
  head_ = {};
  request_.body.clear();
  if (request_.body.capacity() > kKeptBody) request_.body.shrink_to_fit();  // it may idle for long
}

std::size_t RequestReader::take(std::string_view input) {
  std::size_t taken = 0;
  if (state_ == State::kHead) taken = take_head(input);
  if (state_ == State::kBody) {
    input.remove_prefix(taken);
    if (head_.framing == Framing::kChunked) return taken + take_chunks(input);
    const auto left = static_cast<std::uint64_t>(head_.length - seen_);
    const std::string_view data = input.substr(0, std::min<std::uint64_t>(left, input.size()));
    append_body(data);
    if (seen_ == head_.length) discarding_ ? too_large(false) : void(state_ = State::kComplete);
    taken += data.size();
  }
  return taken;
}

std::size_t RequestReader::take_head(std::string_view input) {
  std::size_t skipped = 0;
  if (!begun_) {  // one empty line before a request is let pass (RFC 9112 §2.2)
    if (!skipped_line_) {
      if (input == "\r") return 0;
      skipped_line_ = input.starts_with("\r\n");
      if (skipped_line_) skipped = 2;
      input.remove_prefix(skipped);
    }
    if (input.empty()) return skipped;
    begun_ = true;
  }
  switch (scanner_.scan(input)) {
    case HeadScanner::Found::kMore: return skipped;
    case HeadScanner::Found::kBareLineFeed:
      refuse({RefusalReason::kBadLine, 400, "Lines of the head must end with CRLF."});
      return skipped;
    case HeadScanner::Found::kTooLarge:
      refuse({RefusalReason::kHeadTooLarge, 431, "The head of the request is too large."});
      return skipped;
    case HeadScanner::Found::kEnd: break;
  }
  const std::expected<RequestHead, Refusal> verdict =
      examine_head(input.substr(0, scanner_.size()), max_fields_, request_);
  if (!verdict) {
    refuse(verdict.error());
    return skipped;
  }
  head_ = *verdict;
  begin_body();
  return skipped + scanner_.size();
}

void RequestReader::begin_body() {
  state_ = head_.framing == Framing::kNone ? State::kComplete : State::kBody;
  if (head_.framing != Framing::kLength || head_.length <= max_body_) return;
  if (head_.expects_continue || head_.length - max_body_ > kDrained) {
    too_large(true);
  } else {
    discarding_ = true;
  }
}

std::size_t RequestReader::take_chunks(std::string_view input) {
  std::size_t taken = 0;
  while (taken < input.size() && state_ == State::kBody &&
         chunks_.state() == ChunkDecoder::State::kMore) {
    const ChunkDecoder::Step step = chunks_.next(input.substr(taken));
    taken += step.taken;
    append_body(step.data);
  }
  if (state_ != State::kBody) return taken;
  if (chunks_.state() == ChunkDecoder::State::kBad) {
    refuse({RefusalReason::kBadChunk, 400, "The chunked body is malformed."});
  } else if (chunks_.state() == ChunkDecoder::State::kEnd) {
    discarding_ ? too_large(false) : void(state_ = State::kComplete);
  }
  return taken;
}

void RequestReader::append_body(std::string_view data) {
  seen_ += static_cast<std::int64_t>(data.size());
  if (seen_ > max_body_ && !discarding_) {
    discarding_ = true;
    request_.body = {};
  }
  if (seen_ - max_body_ > kDrained) too_large(true);
  if (discarding_) return;
  request_.body.resize(filled_);
  request_.body.append(data);
  filled_ = request_.body.size();
}

std::span<char> RequestReader::body_space() {
  if (state_ != State::kBody || head_.framing != Framing::kLength || discarding_) return {};
  if (filled_ == request_.body.size()) {
    const auto whole = static_cast<std::size_t>(head_.length);
    resize_uninitialized(request_.body, std::min(whole, std::max(filled_ * 2, kFirstBodySpace)));
  }
  return std::span(request_.body).subspan(filled_);
}

void RequestReader::body_received(std::size_t bytes) {
  filled_ += bytes;
  seen_ += static_cast<std::int64_t>(bytes);
  if (seen_ == head_.length) state_ = State::kComplete;
}

void RequestReader::too_large(bool close) {
  refuse(
      {RefusalReason::kBodyTooLarge, 413, "The body is larger than this server accepts.", close});
}

void RequestReader::refuse(const Refusal& refusal) {
  refusal_ = refusal;
  state_ = State::kRefused;
}

}  // namespace baton::adapters::http
