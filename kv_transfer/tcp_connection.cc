#include "kv_transfer/tcp_connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kv_transfer/address.h"
#include "kv_transfer/tcp_frame.h"
#include "kv_transfer/tcp_loss.h"

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// New pieces are asked for once this many can be, so that one message names many.
constexpr std::size_t kBatch = 64;

}  // namespace

TcpConnection::TcpConnection(const Loop& loop, Events& events)
    : loop_(loop), events_(events), socket_(*loop_), resolver_(*loop_) {}

void TcpConnection::begin(const std::string& address, const std::string& token) {
  wire::append(output_, std::as_bytes(std::span(token)));
  const HostAndPort to = split_address(address).value_or(HostAndPort{});
  resolver_.async_resolve(
      to.host, to.port,
      [this, kept = events_.keep()](error_code error, const tcp::resolver::results_type& found) {
        if (error || closed_) return fail_with(lost(error.message()));
        asio::async_connect(socket_, found, [this, kept](error_code failure, const tcp::endpoint&) {
          if (failure) return fail_with(lost(failure.message()));
          connected();
        });
      });
}

void TcpConnection::connected() {
  if (closed_) return;
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
  notice_loss(socket_.native_handle());
  asked_.emplace_front();  // the greeting
  send_some();
  await_input();
}

std::size_t TcpConnection::room() const {
  if (outstanding_bytes_ >= kMaxBytes) return 0;
  const std::size_t room = kMaxPieces - std::min(asked_.size(), kMaxPieces);
  return room < kBatch ? 0 : std::min(room, wire::kMaxWanted);
}

void TcpConnection::ask(std::vector<Piece> pieces) {
  const FetchTerms terms = pieces.front().order->terms;
  wire::append(output_, wire::fetch_header(terms, pieces.size()));
  for (Piece& piece : pieces) {
    wire::append(output_, wire::wanted(*piece.read, ++last_tag_));
    outstanding_bytes_ += piece.read->into.size();
    asked_.push_back({.piece = std::move(piece), .tag = last_tag_});
  }
  if (terms.slices != nullptr) {
    wire::append(output_, std::as_bytes(std::span(*terms.slices)));
  }
  send_some();
}

void TcpConnection::send_some() {
  if (sending_later_) return;
  while (sent_ < output_.size()) {
    const ssize_t taken = ::send(socket_.native_handle(), output_.data() + sent_,
                                 output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0 && errno == EAGAIN) {
      sending_later_ = true;
      socket_.async_wait(tcp::socket::wait_write, [this, kept = events_.keep()](error_code error) {
        sending_later_ = false;
        if (!error && !closed_) send_some();
      });
      return;
    }
    if (taken < 0) {  // a fetch() is no place to report pieces
      asio::post(*loop_,
                 [this, kept = events_.keep()] { fail_with(lost("the connection was lost")); });
      break;
    }
    sent_ += static_cast<std::size_t>(taken);
  }
  output_.clear();
  sent_ = 0;
}

void TcpConnection::await_input() {
  socket_.async_wait(tcp::socket::wait_read, [this, kept = events_.keep()](error_code error) {
    if (!error && !closed_) take_input();
  });
}

void TcpConnection::take_input() {
  for (std::size_t taken = 0; taken < kTurnBytes;) {
    std::byte surplus{};
    Received received;
    lay_out(received);
    if (received.count == 0) received.places[received.count++] = {&surplus, 1};
    msghdr message{};
    message.msg_iov = received.places.data();
    message.msg_iovlen = received.count;
    const ssize_t got = ::recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) return fail_with(lost("the connection was lost"));
    if (got == 0) return fail_with(lost("the producer closed the connection"));
    if (asked_.empty()) return fail_with(lost("the producer sends what nobody asked for"));
    settle(received, static_cast<std::size_t>(got));
    if (closed_) return;
    taken += static_cast<std::size_t>(got);
    if (asked_.empty()) break;  // nothing more is due
  }
  await_input();
}

void TcpConnection::lay_out(Received& into) {
  for (Asked& piece : asked_) {
    if (into.count + 2 > into.places.size() || into.room >= kTurnBytes) return;
    into.room += piece.wanted() - piece.got;
    add_rest(into.places, into.count, piece.header, piece.into(), piece.got);
  }
}

std::vector<std::byte> TcpConnection::Received::from(std::size_t first, std::size_t end) const {
  std::vector<std::byte> bytes;
  bytes.reserve(end - first);
  std::size_t at = 0;
  for (std::size_t i = 0; i < count && at < end; ++i) {
    const std::size_t length = places[i].iov_len;
    const std::size_t skipped = std::min(first > at ? first - at : 0, length);
    const std::size_t taken = std::min(length, end - at);
    if (skipped < taken) {
      wire::append(bytes,
                   {static_cast<const std::byte*>(places[i].iov_base) + skipped, taken - skipped});
    }
    at += length;
  }
  return bytes;
}

void TcpConnection::settle(const Received& received, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes && !closed_;) {
    Asked& piece = asked_.front();
    const bool in_header = piece.got < sizeof(piece.header);
    const std::size_t end = in_header ? sizeof(piece.header) : piece.wanted();
    const std::size_t taken = std::min(bytes - at, end - piece.got);
    piece.got += taken;
    at += taken;
    if (in_header && piece.got == sizeof(piece.header) && !body_follows()) {
      if (closed_) return;
      // What came behind lies one body too far. It is fetched from there before others may write to
      // the places of the stale piece.
      const std::vector<std::byte> rest = received.from(at, bytes);
      finish_stale();
      settle_copied(rest);
      return;
    }
    if (piece.got == piece.wanted()) finish({});
  }
}

void TcpConnection::settle_copied(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !closed_) {
    if (asked_.empty()) return fail_with(lost("the producer sends what nobody asked for"));
    Asked& piece = asked_.front();
    const bool in_header = piece.got < sizeof(piece.header);
    const std::size_t end = in_header ? sizeof(piece.header) : piece.wanted();
    const auto taken = bytes.first(std::min(bytes.size(), end - piece.got));
    std::byte* into = in_header ? reinterpret_cast<std::byte*>(&piece.header) + piece.got
                                : piece.into().data() + (piece.got - sizeof(piece.header));
    std::memcpy(into, taken.data(), taken.size());
    piece.got += taken.size();
    bytes = bytes.subspan(taken.size());
    if (in_header && piece.got == sizeof(piece.header) && !body_follows()) {
      if (closed_) return;
      finish_stale();
    } else if (piece.got == piece.wanted()) {
      finish({});
    }
  }
}

bool TcpConnection::body_follows() {
  const Asked& piece = asked_.front();
  const auto header =
      wire::parse_piece(std::as_bytes(std::span(&piece.header, 1)),
                        piece.header.status == wire::PieceStatus::kOk ? piece.into().size() : 0);
  if (!header) {
    fail_with(header.error());
    return false;
  }
  const bool welcomes = header->status == wire::PieceStatus::kWelcome;
  if (welcomes != piece.is_greeting() ||
      (!welcomes && (header->tag != piece.tag || header->index != piece.piece.read->index ||
                     header->generation != piece.piece.read->remote.slot.generation))) {
    fail_with({ErrorCode::kCorrupt, Stage::kHandoff,
               "tcp: the producer sent another block than was asked for", true});
    return false;
  }
  return header->status != wire::PieceStatus::kStale;
}

void TcpConnection::finish_stale() { finish(std::unexpected(stale(*asked_.front().piece.read))); }

void TcpConnection::finish(Result<void> result) {
  const Asked asked = std::move(asked_.front());
  asked_.pop_front();
  if (asked.is_greeting()) {
    events_.on_connected();
  } else {
    outstanding_bytes_ -= asked.into().size();
    if (result) result = verify(asked.piece, asked.header.checksum);
    asked.piece.report(std::move(result));
  }
  if (!closed_) events_.on_room();
}

void TcpConnection::fail_with(const Error& reason) {
  if (!closed_) events_.on_failed(reason);
}

void TcpConnection::close() {
  if (std::exchange(closed_, true)) return;
  error_code ignored;
  resolver_.cancel();
  socket_.close(ignored);
}

std::vector<Piece> TcpConnection::take_asked() {
  std::vector<Piece> left;
  for (Asked& asked : std::exchange(asked_, {})) {
    if (!asked.is_greeting()) left.push_back(std::move(asked.piece));
  }
  return left;
}

Error TcpConnection::lost(std::string_view why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff, fmt::format("tcp: {}", why), true};
}

}  // namespace baton::kv
