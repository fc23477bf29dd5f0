#include "kv_transfer/tcp_link.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "kv_transfer/one_time_tokens.h"

namespace baton::kv {

namespace asio = boost::asio;
using boost::system::error_code;

TcpLink::TcpLink(Loop loop) : loop_(std::move(loop)), timer_(*loop_) {}

void TcpLink::begin(const TransportOffer& offer, int connections, TimePoint deadline,
                    Transport::Connected done) {
  connected_ = std::move(done);
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->give_up(TcpConnection::lost("no answer in time"));
  });
  const std::size_t tokens = std::max<std::size_t>(offer.token.size() / OneTimeTokens::kBytes, 1);
  const auto wanted = static_cast<std::size_t>(std::clamp(connections, 1, kMaxConnections));
  for (std::size_t i = 0; i < std::min(wanted, tokens); ++i) {
    connections_.push_back(std::make_unique<TcpConnection>(loop_, *this));
    connections_.back()->begin(
        offer.address, offer.token.substr(std::min(i * OneTimeTokens::kBytes, offer.token.size()),
                                          OneTimeTokens::kBytes));
  }
}

void TcpLink::on_connected() {
  if (++greeted_ == connections_.size()) report_connected();
}

void TcpLink::fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) {
  queue_.add(terms, std::move(reads), std::move(done));
  if (!failed()) return ask();
  asio::post(*loop_, [left = queue_.take_all()] {
    for (const Piece& piece : left) {
      piece.report(std::unexpected(TcpConnection::lost("the link has failed")));
    }
  });
}

void TcpLink::close() {
  asio::post(*loop_, [self = shared_from_this()] {
    self->give_up(TcpConnection::lost("the link was closed"));
  });
}

void TcpLink::ask() {
  while (!queue_.empty() && !failed()) {
    const auto& idlest = *std::ranges::min_element(
        connections_, {}, [](const auto& connection) { return connection->outstanding_bytes(); });
    const std::size_t room = idlest->room();
    if (room == 0) return;
    idlest->ask(queue_.take(room, TcpConnection::kTurnBytes));
  }
}

void TcpLink::give_up(const Error& reason) {
  if (failed()) return;
  failure_ = reason;
  const auto self = shared_from_this();
  report_connected();
  // From here on nothing writes to the pieces' places.
  for (const auto& connection : connections_) connection->close();
  std::vector<Piece> left = queue_.take_all();
  for (const auto& connection : connections_) {
    std::ranges::move(connection->take_asked(), std::back_inserter(left));
  }
  for (const Piece& piece : left) piece.report(std::unexpected(reason));
}

void TcpLink::report_connected() {
  if (connected_ == nullptr) return;
  timer_.cancel();
  asio::post(*loop_, [done = std::exchange(connected_, nullptr), self = shared_from_this()] {
    if (self->failed()) {  // perhaps since it was greeted
      done(std::unexpected(*self->failure_));
    } else {
      done(self);
    }
  });
}

}  // namespace baton::kv
