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
#include <string_view>
#include <vector>

#include "core/error.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/piece_queue.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// One of a TcpLink's connections. Pieces come in the order in which they were asked for, so they
// are received straight into their places, many at a time, before anything is known of them; what
// the answers' headers then say otherwise is put right. On the kv thread.
class TcpConnection {
 public:
  // The link that owns it.
  class Events {
   public:
    virtual ~Events() = default;
    // Keeps the link, and so the connection, until a handler has run.
    virtual std::shared_ptr<void> keep() = 0;
    virtual void on_connected() = 0;
    virtual void on_room() = 0;  // for more pieces
    // Nothing is reported after it but what take_asked() gives.
    virtual void on_failed(const Error& reason) = 0;
  };
  // Asked for at most, before the next turn; what is more urgent waits for no more than this.
  static constexpr std::size_t kMaxPieces = 512;
  static constexpr std::size_t kMaxBytes = 8 << 20;
  // Asked for, and received, in one turn of the kv thread, so that control messages wait at most
  // some 100 µs.
  static constexpr std::size_t kTurnBytes = 1 << 20;

  TcpConnection(const Loop& loop, Events& events);

  // The end is on_connected() or on_failed().
  void begin(const std::string& address, const std::string& token);
  // Pieces that may be asked for now; 0 until enough of them can be for one message to name many.
  [[nodiscard]] std::size_t room() const;
  [[nodiscard]] std::size_t outstanding_bytes() const { return outstanding_bytes_; }
  // All of one order, at most room() of them.
  void ask(std::vector<Piece> pieces);
  // Nothing is received any more, and no event comes.
  void close();
  // What was asked for and has not come, for a link that gives up.
  [[nodiscard]] std::vector<Piece> take_asked();

  [[nodiscard]] static Error lost(std::string_view why);

 private:
  struct Asked {
    Piece piece;  // no order: the greeting
    std::uint64_t tag = 0;
    wire::PieceHeader header{};  // as far as it came
    std::size_t got = 0;         // of header and body
    [[nodiscard]] bool is_greeting() const { return piece.order == nullptr; }
    [[nodiscard]] std::span<std::byte> into() const {
      return is_greeting() ? std::span<std::byte>{} : piece.read->into;
    }
    [[nodiscard]] std::size_t wanted() const { return sizeof(header) + into().size(); }
  };
  // Where one recvmsg() put its bytes.
  struct Received {
    std::array<iovec, 2 * kMaxPieces> places;
    std::size_t count = 0;
    std::size_t room = 0;  // in bytes
    [[nodiscard]] std::vector<std::byte> from(std::size_t first, std::size_t end) const;
  };

  void connected();
  void send_some();
  void await_input();
  void take_input();
  void lay_out(Received& into);
  // Takes note of bytes that were received into the pieces' own places.
  void settle(const Received& received, std::size_t bytes);
  // The same of bytes that lie elsewhere.
  void settle_copied(std::span<const std::byte> bytes);
  // What the whole header of the first piece says: whether the bytes behind it are those of the
  // piece. If not, and the connection is still open, the piece is stale and has none.
  [[nodiscard]] bool body_follows();
  void finish(Result<void> result);
  void finish_stale();
  void fail_with(const Error& reason);

  const Loop loop_;
  Events& events_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::ip::tcp::resolver resolver_;
  bool closed_ = false;
  bool sending_later_ = false;  // a handler will go on with it
  std::uint64_t last_tag_ = 0;
  std::vector<std::byte> output_;
  std::size_t sent_ = 0;     // of output_
  std::deque<Asked> asked_;  // in this order on the wire, the greeting first
  std::size_t outstanding_bytes_ = 0;
};

}  // namespace baton::kv
