#include "kv_transfer/shm_transport.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "core/log.h"
#include "kv_transfer/acceptor.h"
#include "kv_transfer/arena_view.h"
#include "kv_transfer/copying_link.h"
#include "kv_transfer/one_time_tokens.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;

constexpr std::size_t kMaxShmGuests = 64;

bool runs_as_us(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         peer.uid == ::geteuid();
}

bool send_descriptor(int socket, int fd) {
  char byte = 'A';
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

// The passed descriptor; -1: not one came.
int receive_descriptor(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1) return -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
    return -1;
  }
  // As many as there is room for are ours to close, wanted or not.
  std::array<int, 2> passed{};
  const std::size_t count = std::min((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), passed.size());
  std::memcpy(passed.data(), CMSG_DATA(header), count * sizeof(int));
  if (count == 1) return passed.front();
  for (std::size_t i = 0; i < count; ++i) ::close(passed[i]);
  return -1;
}

asio::local::stream_protocol::endpoint abstract(const std::string& name) {
  return {std::string(1, '\0') + name};
}

constexpr std::size_t kShmTurnPieces = 64;  // after which a link may be found closed

class ShmLink final : public CopyingLink {
 public:
  ShmLink(Loop loop, std::unique_ptr<ArenaView> view)
      : CopyingLink(std::move(loop), kShmTurnPieces), view_(std::move(view)) {}

 private:
  void copy(std::span<const Piece> pieces) override {
    for (const Piece& piece : pieces) piece.report(read(piece));
  }

  Result<void> read(const Piece& piece) const {
    if (failed()) return closed();
    if (piece.slices() != nullptr) return view_->read(*piece.read, *piece.slices());
    auto result = view_->read(piece.read->remote.slot, piece.read->into);
    return result ? verify(piece, 0) : result;
  }

  const std::unique_ptr<ArenaView> view_;
};

// One reader's way to the owner's memfd: connect, show the token, take the descriptor. Keeps itself
// alive until its last handler has run; reports once.
class Visit final : public std::enable_shared_from_this<Visit> {
 public:
  Visit(Loop loop, TransportOffer offer, Transport::Connected done)
      : loop_(std::move(loop)),
        offer_(std::move(offer)),
        socket_(*loop_),
        timer_(*loop_),
        done_(std::move(done)) {}

  void begin(TimePoint deadline) {
    timer_.expires_at(deadline);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->end(-1, "no answer in time");
    });
    socket_.async_connect(abstract(offer_.address), [self = shared_from_this()](error_code error) {
      if (error) return self->end(-1, "not on this host");
      if (!runs_as_us(self->socket_.native_handle())) return self->end(-1, "another user");
      self->show_token();
    });
  }

 private:
  void show_token() {
    asio::async_write(socket_, asio::buffer(offer_.token),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->end(-1, "the owner hung up");
                        self->await_descriptor();
                      });
  }

  void await_descriptor() {
    socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
      if (error) return self->end(-1, "the owner hung up");
      self->end(receive_descriptor(self->socket_.native_handle()), "the owner refused");
    });
  }

  void end(int fd, const char* why_not) {
    if (done_ == nullptr) {
      if (fd >= 0) ::close(fd);
      return;
    }
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
    const auto done = std::exchange(done_, nullptr);
    if (fd < 0) {
      done(fail(ErrorCode::kUnsupported, Stage::kHandoff,
                fmt::format("shared memory cannot be used: {}", why_not)));
      return;
    }
    auto view = ArenaView::map(fd);
    if (!view) {
      done(std::unexpected(view.error()));
      return;
    }
    done(std::make_shared<ShmLink>(loop_, std::move(*view)));
  }

  const Loop loop_;
  const TransportOffer offer_;
  Socket socket_;
  asio::steady_timer timer_;
  Transport::Connected done_;
};

class ShmTransport final : public Transport {
 public:
  ShmTransport(Loop loop, BlockArena& arena)
      : loop_(std::move(loop)),
        arena_(arena),
        name_("baton-kv-" + OneTimeTokens::draw()),
        acceptor_(loop_),
        tokens_("shm " + name_) {}

  Result<void> listen() {
    const error_code error = acceptor_.listen(abstract(name_), [this](Socket socket) {
      if (guests_.size() < kMaxShmGuests) receive(std::make_shared<Guest>(std::move(socket)));
    });
    if (error) {
      return fail(ErrorCode::kUnavailable, Stage::kConfig,
                  "the Unix socket of the shm transport: " + error.message());
    }
    return {};
  }

  Capabilities capabilities() const override { return {.name = "shm", .same_host = true}; }

  TransportOffer reserve(TimePoint now) override { return {"shm", name_, tokens_.issue(now)}; }

  // What a reader sees is the arena; the generations in it say what is current.
  void publish(TransferId, std::span<const BlockDescriptor>) override {}
  void abort(TransferId) override {}

  void connect(const TransportOffer& offer, TimePoint deadline, Connected done) override {
    if (offer.token.size() != OneTimeTokens::kBytes || offer.address.size() > 100) {
      asio::post(*loop_, [done = std::move(done)] {
        done(fail(ErrorCode::kUnsupported, Stage::kHandoff, "malformed shm offer"));
      });
      return;
    }
    std::make_shared<Visit>(loop_, offer, std::move(done))->begin(deadline);
  }

  void stop(std::function<void()> done) override {
    acceptor_.close();
    error_code ignored;
    for (const auto& guest : guests_) guest->socket.close(ignored);
    asio::post(*loop_, std::move(done));
  }

 private:
  struct Guest {
    explicit Guest(Socket&& connected)
        : socket(std::move(connected)), timer(socket.get_executor()) {}
    Socket socket;
    asio::steady_timer timer;
    std::array<char, OneTimeTokens::kBytes> token{};
  };

  void receive(const std::shared_ptr<Guest>& guest) {
    guests_.insert(guest);
    guest->timer.expires_after(std::chrono::seconds(2));
    guest->timer.async_wait([guest](error_code error) {
      error_code ignored;
      if (!error) guest->socket.close(ignored);
    });
    asio::async_read(guest->socket, asio::buffer(guest->token),
                     [this, guest](error_code error, std::size_t) {
                       if (!error) admit(*guest);
                       guest->timer.cancel();
                       guests_.erase(guest);
                     });
  }

  void admit(Guest& guest) {
    const bool is_known = tokens_.redeem({guest.token.data(), guest.token.size()}, Clock::now());
    if (!is_known || !runs_as_us(guest.socket.native_handle())) {
      log(LogLevel::kWarn, "refused a reader of shared memory",
          {{"reason", is_known ? "another user" : "no valid token"}});
      return;
    }
    (void)send_descriptor(guest.socket.native_handle(), arena_.memfd());
  }

  const Loop loop_;
  BlockArena& arena_;
  const std::string name_;  // of the abstract socket
  Acceptor<asio::local::stream_protocol> acceptor_;
  OneTimeTokens tokens_;
  std::unordered_set<std::shared_ptr<Guest>> guests_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_shm_transport(Loop loop, BlockArena& arena) {
  auto transport = std::make_unique<ShmTransport>(std::move(loop), arena);
  if (auto listening = transport->listen(); !listening) return std::unexpected(listening.error());
  return transport;
}

}  // namespace baton::kv
