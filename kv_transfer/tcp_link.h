#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "core/error.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/piece_queue.h"
#include "kv_transfer/tcp_connection.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// The reader's end of the tcp transport to one owner: 1 to 4 connections, each asked for what it
// has room for, the one with the fewest bytes outstanding first. It stands as long as all of them
// do. Kept alive by the handlers of its sockets. On the kv thread.
class TcpLink final : public Link,
                      public TcpConnection::Events,
                      public std::enable_shared_from_this<TcpLink> {
 public:
  static constexpr int kMaxConnections = 4;

  explicit TcpLink(Loop loop);

  // Opens `connections` of them, or as many as the offer has tokens. `done` runs once, in a later
  // turn: kUnavailable (nobody there, or no answer in time).
  void begin(const TransportOffer& offer, int connections, TimePoint deadline,
             Transport::Connected done);

  void fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) override;
  [[nodiscard]] bool failed() const override { return failure_.has_value(); }
  void close() override;
  // Ends it at once.
  void give_up(const Error& reason);

 private:
  std::shared_ptr<void> keep() override { return shared_from_this(); }
  void on_connected() override;
  void on_room() override { ask(); }
  void on_failed(const Error& reason) override { give_up(reason); }

  void ask();
  void report_connected();

  const Loop loop_;
  boost::asio::steady_timer timer_;
  Transport::Connected connected_;
  std::vector<std::unique_ptr<TcpConnection>> connections_;
  std::size_t greeted_ = 0;
  PieceQueue queue_;
  std::optional<Error> failure_;
};

}  // namespace baton::kv
