#include "kv_transfer/tcp_link.h"

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

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// New pieces are asked for once this many can be, so that one message names many.
constexpr std::size_t kBatch = 16;
// Received in one turn of the kv thread, so that control messages wait at most some 100 µs.
constexpr std::size_t kTurnBytes = 1 << 20;

Error lost(std::string_view why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff, fmt::format("tcp: {}", why), true};
}

void append(std::vector<std::byte>& output, const void* data, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  output.insert(output.end(), begin, begin + bytes);
}

}  // namespace

TcpLink::TcpLink(Loop loop)
    : loop_(std::move(loop)), socket_(*loop_), resolver_(*loop_), timer_(*loop_) {}

void TcpLink::begin(const TransportOffer& offer, TimePoint deadline, Transport::Connected done) {
  connected_ = std::move(done);
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->give_up(lost("no answer in time"));
  });
  append(output_, offer.token.data(), offer.token.size());
  const HostAndPort to = split_address(offer.address).value_or(HostAndPort{});
  resolver_.async_resolve(
      to.host, to.port,
      [self = shared_from_this()](error_code error, const tcp::resolver::results_type& found) {
        if (error) return self->give_up(lost(error.message()));
        asio::async_connect(self->socket_, found, [self](error_code failure, const tcp::endpoint&) {
          if (failure) return self->give_up(lost(failure.message()));
          self->connected();
        });
      });
}

void TcpLink::connected() {
  if (failed_) return;
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
  asked_.emplace_front();  // the greeting
  send_some();
  await_input();
}

void TcpLink::fetch(TransferId transfer, std::vector<BlockRead> reads, PieceDone done) {
  const auto shared = std::make_shared<PieceDone>(std::move(done));
  if (failed_) {
    asio::post(*loop_, [reads = std::move(reads), shared] {
      for (const BlockRead& read : reads) {
        (*shared)(read.index, std::unexpected(lost("the link has failed")));
      }
    });
    return;
  }
  for (const BlockRead& read : reads) queue_.push_back({transfer, read, shared});
  ask();
}

void TcpLink::close() {
  asio::post(*loop_, [self = shared_from_this()] { self->give_up(lost("the link was closed")); });
}

void TcpLink::ask() {
  while (!queue_.empty()) {
    const std::size_t room =
        kMaxOutstanding - std::min<std::size_t>(asked_.size(), kMaxOutstanding);
    if (room < kBatch) break;
    std::array<wire::Wanted, wire::kMaxWanted> wanted;
    wire::FetchHeader header;
    const TransferId transfer = queue_.front().transfer;
    header.transfer_high = transfer.high();
    header.transfer_low = transfer.low();
    while (!queue_.empty() && header.count < std::min(room, wanted.size()) &&
           queue_.front().transfer == transfer) {
      Piece& piece = asked_.emplace_back(std::move(queue_.front()));
      queue_.pop_front();
      piece.tag = ++last_tag_;
      wanted[header.count++] = {.tag = piece.tag,
                                .generation = piece.read.remote.generation,
                                .slot = piece.read.remote.slot,
                                .index = piece.read.index,
                                .bytes = static_cast<std::uint32_t>(piece.read.into.size())};
    }
    append(output_, &header, sizeof(header));
    append(output_, wanted.data(), header.count * sizeof(wire::Wanted));
  }
  send_some();
}

void TcpLink::send_some() {
  if (sending_later_) return;
  while (sent_ < output_.size()) {
    const ssize_t taken = ::send(socket_.native_handle(), output_.data() + sent_,
                                 output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0 && errno == EAGAIN) {
      sending_later_ = true;
      socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](error_code error) {
        self->sending_later_ = false;
        if (!error && !self->failed_) self->send_some();
      });
      return;
    }
    if (taken < 0) return close();  // a fetch() is no place to report pieces
    sent_ += static_cast<std::size_t>(taken);
  }
  output_.clear();
  sent_ = 0;
}

void TcpLink::await_input() {
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    if (!error && !self->failed_) self->take_input();
  });
}

void TcpLink::take_input() {
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
    if (got < 0) return give_up(lost("the connection was lost"));
    if (got == 0) return give_up(lost("the producer closed the connection"));
    if (asked_.empty()) return give_up(lost("the producer sends what nobody asked for"));
    settle(received, static_cast<std::size_t>(got));
    if (failed_) return;
    taken += static_cast<std::size_t>(got);
  }
  await_input();
}

void TcpLink::lay_out(Received& into) {
  std::size_t bytes = 0;
  for (Piece& piece : asked_) {
    if (into.count + 2 > into.places.size() || bytes >= kTurnBytes) return;
    bytes += piece.wanted() - piece.got;
    add_rest(into.places, into.count, piece.header, piece.read.into, piece.got);
  }
}

std::vector<std::byte> TcpLink::Received::from(std::size_t first, std::size_t end) const {
  std::vector<std::byte> bytes;
  bytes.reserve(end - first);
  std::size_t at = 0;
  for (std::size_t i = 0; i < count && at < end; ++i) {
    const std::size_t length = places[i].iov_len;
    const std::size_t skipped = std::min(first > at ? first - at : 0, length);
    const std::size_t taken = std::min(length, end - at);
    if (skipped < taken) {
      append(bytes, static_cast<const std::byte*>(places[i].iov_base) + skipped, taken - skipped);
    }
    at += length;
  }
  return bytes;
}

void TcpLink::settle(const Received& received, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes && !failed_;) {
    Piece& piece = asked_.front();
    const bool in_header = piece.got < sizeof(piece.header);
    const std::size_t end = in_header ? sizeof(piece.header) : piece.wanted();
    const std::size_t taken = std::min(bytes - at, end - piece.got);
    piece.got += taken;
    at += taken;
    if (in_header && piece.got == sizeof(piece.header) && !body_follows()) {
      if (failed_) return;
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

void TcpLink::settle_copied(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !failed_) {
    if (asked_.empty()) return give_up(lost("the producer sends what nobody asked for"));
    Piece& piece = asked_.front();
    const bool in_header = piece.got < sizeof(piece.header);
    const std::size_t end = in_header ? sizeof(piece.header) : piece.wanted();
    const auto taken = bytes.first(std::min(bytes.size(), end - piece.got));
    std::byte* into = in_header ? reinterpret_cast<std::byte*>(&piece.header) + piece.got
                                : piece.read.into.data() + (piece.got - sizeof(piece.header));
    std::memcpy(into, taken.data(), taken.size());
    piece.got += taken.size();
    bytes = bytes.subspan(taken.size());
    if (in_header && piece.got == sizeof(piece.header) && !body_follows()) {
      if (failed_) return;
      finish_stale();
    } else if (piece.got == piece.wanted()) {
      finish({});
    }
  }
}

bool TcpLink::body_follows() {
  const Piece& piece = asked_.front();
  const auto header =
      wire::parse_piece(std::as_bytes(std::span(&piece.header, 1)),
                        piece.header.status == wire::PieceStatus::kOk ? piece.read.into.size() : 0);
  if (!header) {
    give_up(header.error());
    return false;
  }
  const bool welcomes = header->status == wire::PieceStatus::kWelcome;
  if (welcomes != piece.is_greeting() ||
      (!welcomes && (header->tag != piece.tag || header->index != piece.read.index ||
                     header->generation != piece.read.remote.generation))) {
    give_up({ErrorCode::kCorrupt, Stage::kHandoff,
             "tcp: the producer sent another block than was asked for", true});
    return false;
  }
  return header->status != wire::PieceStatus::kStale;
}

void TcpLink::finish_stale() {
  const BlockRead& read = asked_.front().read;
  finish(fail(ErrorCode::kStale, Stage::kHandoff,
              fmt::format("the producer no longer holds block {} in generation {}", read.index,
                          read.remote.generation),
              true));
}

void TcpLink::finish(Result<void> result) {
  const Piece piece = std::move(asked_.front());
  asked_.pop_front();
  if (piece.is_greeting()) {
    report_connected({});
  } else {
    (*piece.done)(piece.read.index, std::move(result));
  }
  if (!failed_) ask();
}

void TcpLink::give_up(const Error& reason) {
  if (std::exchange(failed_, true)) return;
  const auto self = shared_from_this();
  error_code ignored;
  resolver_.cancel();
  socket_.close(ignored);  // from here on nothing writes to the pieces' places
  report_connected(reason);
  auto asked = std::exchange(asked_, {});
  auto queue = std::exchange(queue_, {});
  for (const auto* pieces : {&asked, &queue}) {
    for (const Piece& piece : *pieces) {
      if (!piece.is_greeting()) (*piece.done)(piece.read.index, std::unexpected(reason));
    }
  }
}

void TcpLink::report_connected(const Error& reason) {
  if (connected_ == nullptr) return;
  timer_.cancel();
  const auto done = std::exchange(connected_, nullptr);
  asio::post(*loop_, [done, self = shared_from_this(), reason] {
    if (self->failed_) {
      done(std::unexpected(reason));
    } else {
      done(self);
    }
  });
}

}  // namespace baton::kv
