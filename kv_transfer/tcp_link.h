#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// The reader's end of one connection of the tcp transport. Pieces come in the order in which they
// were asked for, so they are received straight into their places, many at a time, before anything
// is known of them; what the answer's headers then say otherwise is put right. Kept alive by the
// handlers of its socket. On the kv thread.
class TcpLink final : public Link, public std::enable_shared_from_this<TcpLink> {
 public:
  static constexpr int kMaxOutstanding = 128;

  explicit TcpLink(Loop loop);

  // `done` runs once, in a later turn: kUnavailable (nobody there, or no answer in time).
  void begin(const TransportOffer& offer, TimePoint deadline, Transport::Connected done);

  void fetch(TransferId transfer, std::vector<BlockRead> reads, PieceDone done) override;
  [[nodiscard]] bool failed() const override { return failed_; }
  void close() override;
  // Ends it at once.
  void give_up(const Error& reason);

 private:
  struct Piece {
    TransferId transfer;
    BlockRead read;
    std::shared_ptr<PieceDone> done;
    std::uint64_t tag = 0;
    wire::PieceHeader header{};  // as far as it came
    std::size_t got = 0;         // of header and body
    [[nodiscard]] std::size_t wanted() const { return sizeof(header) + read.into.size(); }
    [[nodiscard]] bool is_greeting() const { return done == nullptr; }
  };
  // Where one recvmsg() put its bytes.
  struct Received {
    std::array<iovec, 2 * kMaxOutstanding> places;
    std::size_t count = 0;
    [[nodiscard]] std::vector<std::byte> from(std::size_t first, std::size_t end) const;
  };

  void connected();
  void ask();
  void send_some();
  void await_input();
  void take_input();
  void lay_out(Received& into);
  // Takes note of bytes that were received into the pieces' own places.
  void settle(const Received& received, std::size_t bytes);
  // The same of bytes that lie elsewhere.
  void settle_copied(std::span<const std::byte> bytes);
  // What the whole header of the first piece says: whether the bytes behind it are those of the
  // piece. If not, and the link has not failed, the piece is stale and has none.
  [[nodiscard]] bool body_follows();
  void finish(Result<void> result);
  void finish_stale();
  void report_connected(const Error& reason);

  const Loop loop_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::ip::tcp::resolver resolver_;
  boost::asio::steady_timer timer_;
  Transport::Connected connected_;
  bool failed_ = false;
  bool sending_later_ = false;  // a handler will go on with it
  std::uint64_t last_tag_ = 0;
  std::vector<std::byte> output_;
  std::size_t sent_ = 0;     // of output_
  std::deque<Piece> queue_;  // not asked for yet
  std::deque<Piece> asked_;  // in this order on the wire, the greeting first
};

}  // namespace baton::kv
