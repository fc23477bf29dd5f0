#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "adapters/http/chunked.h"
#include "adapters/http/server.h"
#include "adapters/http/syntax.h"

namespace baton::adapters::http {

// Turns the bytes of one answer into its head and the pieces of its body. Owned by the exchange;
// does no I/O. As strict as the request gate: an answer that two parsers could frame in two ways is
// no answer.
class ResponseReader {
 public:
  enum class State : std::uint8_t { kHead, kBody, kComplete, kBad };

  ResponseReader(std::size_t head_limit, bool head_request);
  // Takes the final head, and interim ones (1xx) before it, from the front of `input`; returns how
  // many bytes. Call while state() is kHead, each time with the untaken bytes and more.
  std::size_t take_head(std::string_view input);

  struct Piece {
    std::size_t taken;
    std::string_view data;  // within `input`
  };
  // Takes body bytes. Chunks are joined in place, so `input` is written to.
  Piece take_body(std::span<char> input);
  // The connection ended: kComplete if that is how this body ends.
  void end_of_stream();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool begun() const { return begun_; }  // any byte was seen
  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] const Fields& fields() const { return fields_; }
  [[nodiscard]] bool keep_alive() const { return keep_alive_; }
  [[nodiscard]] std::string_view fault() const { return fault_; }

 private:
  enum class Framing : std::uint8_t { kNone, kLength, kChunked, kUntilClose };
  static constexpr int kMaxInterim = 16;
  static constexpr std::size_t kMaxFields = 200;

  bool parse_head(std::string_view head);
  bool parse_status_line(std::string_view line);
  bool choose_framing();
  bool fail(std::string_view fault);

  HeadScanner scanner_;
  ChunkDecoder chunks_;
  State state_ = State::kHead;
  Framing framing_ = Framing::kNone;
  bool head_request_;
  bool begun_ = false;
  bool http10_ = false;
  bool keep_alive_ = false;
  int interim_ = 0;
  unsigned status_ = 0;
  std::int64_t left_ = 0;
  std::string_view fault_;
  Fields fields_;
};

}  // namespace baton::adapters::http
