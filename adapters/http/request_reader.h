#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "adapters/http/chunked.h"
#include "adapters/http/request_gate.h"
#include "adapters/http/server.h"
#include "adapters/http/syntax.h"

namespace baton::adapters::http {

// Turns the bytes of one connection into requests, one after the other. Owned by its connection;
// does no I/O. Whatever pieces the bytes come in, the outcome is the same.
//
// A body over the limit is read and thrown away up to kDrained bytes more, so that the connection
// stays usable after the 413; beyond that, or with Expect, the refusal closes it.
class RequestReader {
 public:
  enum class State : std::uint8_t { kHead, kBody, kComplete, kRefused };
  static constexpr std::int64_t kDrained = 4 << 20;

  explicit RequestReader(const ServerLimits& limits);
  // Takes what it can from the front of `input`, the connection's unread bytes, and returns how
  // many. A head is taken whole, so the same bytes must be offered again with more behind them.
  std::size_t take(std::string_view input);
  // Room for body bytes that need no decoding, to receive into directly; empty where there is none.
  [[nodiscard]] std::span<char> body_space();
  void body_received(std::size_t bytes);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool idle() const { return state_ == State::kHead && !begun_; }
  [[nodiscard]] const RequestHead& head() const { return head_; }
  [[nodiscard]] Request& request() { return request_; }
  [[nodiscard]] const Refusal& refusal() const { return refusal_; }
  [[nodiscard]] std::int64_t body_bytes() const { return seen_; }
  // For reasons that lie outside the bytes, such as time.
  void refuse(const Refusal& refusal);
  void reset();  // for the next request

 private:
  std::size_t take_head(std::string_view input);
  std::size_t take_chunks(std::string_view input);
  void begin_body();
  void append_body(std::string_view data);
  void too_large(bool close);

  std::int64_t max_body_;
  int max_fields_;
  HeadScanner scanner_;
  State state_ = State::kHead;
  bool begun_ = false;
  bool skipped_line_ = false;
  bool discarding_ = false;
  std::int64_t seen_ = 0;   // bytes of the body so far
  std::size_t filled_ = 0;  // of request_.body, which may be longer while it is received into
  ChunkDecoder chunks_;
  RequestHead head_;
  Request request_;
  Refusal refusal_;
};

}  // namespace baton::adapters::http
