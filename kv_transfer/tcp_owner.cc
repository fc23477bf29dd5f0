#include "kv_transfer/tcp_owner.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "core/log.h"
#include "kv_transfer/address.h"
#include "kv_transfer/tcp_frame.h"
#include "kv_transfer/tcp_loss.h"

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t kMaxTcpGuests = 4096;
constexpr auto kTcpTokenTime = std::chrono::seconds(2);  // from the connection to its token
// What a reader of ours never asks for at once.
constexpr std::size_t kMaxTcpQueued = 8 * wire::kMaxWanted;
// Pinned and given to the kernel together.
constexpr std::size_t kMaxAnswers = 256;
// Of copies that wait for the kernel; one more answer may exceed it.
constexpr std::size_t kMaxPacked = 4 << 20;
// Sent in one turn of the kv thread, so that control messages wait at most some 100 µs.
constexpr std::size_t kSentPerTurn = 1 << 20;

}  // namespace

// One reader's connection. Known to the owner until it is closed; keeps itself alive while a
// handler of its socket is due.
class TcpGuest final : public std::enable_shared_from_this<TcpGuest> {
 public:
  TcpGuest(TcpOwner& owner, tcp::socket socket)
      : owner_(owner), socket_(std::move(socket)), timer_(*owner.loop_) {}

  void begin() {
    error_code ignored;
    socket_.non_blocking(true, ignored);
    socket_.set_option(tcp::no_delay(true), ignored);
    notice_loss(socket_.native_handle());
    timer_.expires_after(kTcpTokenTime);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && !self->admitted_) self->close("it showed no token");
    });
    await_input();
  }

  // What the kernel has taken is no longer pinned, nor what will not be sent.
  void close(std::string_view why) {
    if (!socket_.is_open()) return;
    if (!why.empty()) log(LogLevel::kWarn, "tcp reader dropped", {{"reason", why}});
    error_code ignored;
    timer_.cancel();
    socket_.close(ignored);
    for (const Answer& answer : answers_) let_go(answer);
    answers_.clear();
    queue_.clear();
    owner_.guests_.erase(shared_from_this());
  }

 private:
  struct Request {
    TransferId transfer;
    wire::Wanted wanted;
    Slices slices;
  };
  struct Answer : PieceAnswer {
    std::size_t sent = 0;  // of header and body
    [[nodiscard]] std::size_t left() const { return sizeof(header) + body.size() - sent; }
  };

  void await_input() {
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (error || !self->socket_.is_open()) return;
      self->take_input();
    });
  }

  void take_input() {
    const ssize_t got =
        ::recv(socket_.native_handle(), input_.data() + held_, input_.size() - held_, MSG_DONTWAIT);
    if (got <= 0) {
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return await_input();
      return close({});
    }
    held_ += static_cast<std::size_t>(got);
    if (!admitted_ && !admit()) return;
    if (!read_fetches()) return;
    serve();
    if (socket_.is_open()) await_input();
  }

  // False: it is not here yet, or wrong.
  bool admit() {
    if (held_ < OneTimeTokens::kBytes) {
      await_input();
      return false;
    }
    const std::string_view token(reinterpret_cast<const char*>(input_.data()),
                                 OneTimeTokens::kBytes);
    if (!owner_.tokens_.redeem(token, Clock::now())) {
      close("it has no valid token");
      return false;
    }
    admitted_ = true;
    timer_.cancel();
    drop_input(OneTimeTokens::kBytes);
    answers_.push_back({});
    answers_.back().header.status = wire::PieceStatus::kWelcome;
    return true;
  }

  // False: what it says is no fetch.
  bool read_fetches() {
    while (held_ >= sizeof(wire::FetchHeader)) {
      wire::FetchHeader header;
      std::memcpy(&header, input_.data(), sizeof(header));
      const std::size_t frame_bytes = sizeof(header) + wire::body_bytes(header);
      const bool is_possible = frame_bytes <= input_.size();
      if (is_possible && held_ < frame_bytes) return true;
      const auto frame = std::span<const std::byte>(input_).first(is_possible ? frame_bytes : 0);
      const auto fetch = is_possible ? wire::parse_fetch(frame.first(sizeof(header)),
                                                         frame.subspan(sizeof(header)))
                                     : wire::parse_fetch(frame, {});
      if (!fetch || queue_.size() + fetch->wanted.size() > kMaxTcpQueued) {
        close(fetch ? "it asks for too much at once" : fetch.error().message);
        return false;
      }
      for (const wire::Wanted& wanted : fetch->wanted) {
        queue_.push_back({fetch->transfer, wanted, fetch->slices});
      }
      drop_input(frame_bytes);
    }
    return true;
  }

  void drop_input(std::size_t bytes) {
    held_ -= bytes;
    std::memmove(input_.data(), input_.data() + bytes, held_);
  }

  void serve() {
    if (sending_later_) return;
    for (std::size_t sent = 0; sent < kSentPerTurn;) {
      pin_more();
      if (answers_.empty()) return;
      const ssize_t taken = send_some();
      if (taken < 0 && errno == EINTR) continue;
      if (taken < 0 && errno == EAGAIN) return serve_when_writable();
      if (taken < 0) return close({});
      settle(static_cast<std::size_t>(taken));
      sent += static_cast<std::size_t>(taken);
    }
    sending_later_ = true;
    asio::post(*owner_.loop_, [self = shared_from_this()] { self->serve_again(); });
  }

  void serve_when_writable() {
    sending_later_ = true;
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](error_code error) {
      if (!error) self->serve_again();
    });
  }

  void serve_again() {
    sending_later_ = false;
    if (socket_.is_open()) serve();
  }

  void pin_more() {
    while (!queue_.empty() && answers_.size() < kMaxAnswers && packed_bytes_ < kMaxPacked) {
      const Request request = std::move(queue_.front());
      queue_.pop_front();
      Answer& answer = answers_.emplace_back();
      owner_.blocks_.answer(request.transfer, request.wanted, request.slices, answer);
      packed_bytes_ += answer.packed.size();
    }
  }

  ssize_t send_some() {
    std::array<iovec, 2 * kMaxAnswers> pieces;
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (Answer& answer : answers_) {
      if (bytes >= kSentPerTurn) break;
      bytes += answer.left();
      const std::span body(const_cast<std::byte*>(answer.body.data()), answer.body.size());
      add_rest(pieces, count, answer.header, body, answer.sent);
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    return ::sendmsg(socket_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  void settle(std::size_t bytes) {
    while (bytes > 0) {
      Answer& answer = answers_.front();
      const std::size_t taken = std::min(bytes, answer.left());
      answer.sent += taken;
      bytes -= taken;
      if (answer.left() > 0) return;
      let_go(answer);
      answers_.pop_front();
    }
  }

  void let_go(const Answer& answer) {
    owner_.blocks_.let_go(answer);
    packed_bytes_ -= answer.packed.size();
  }

  TcpOwner& owner_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  bool admitted_ = false;
  bool sending_later_ = false;  // a handler will go on with it
  std::vector<std::byte> input_ = std::vector<std::byte>(wire::kMaxFetchBytes);
  std::size_t held_ = 0;  // of input_
  std::size_t packed_bytes_ = 0;
  std::deque<Request> queue_;
  std::deque<Answer> answers_;
};

TcpOwner::TcpOwner(Loop loop, BlockArena& arena)
    : loop_(std::move(loop)), blocks_(arena), acceptor_(loop_) {}

TcpOwner::~TcpOwner() = default;

Result<void> TcpOwner::listen(const std::string& host) {
  const auto endpoint = endpoint_on(loop_, host, "tcp");
  if (!endpoint) return std::unexpected(endpoint.error());
  const error_code error =
      acceptor_.listen(*endpoint, [this](tcp::socket socket) { welcome(std::move(socket)); });
  if (error) {
    return fail(ErrorCode::kUnavailable, Stage::kConfig,
                fmt::format("listening on {} for the tcp transport: {}", host, error.message()));
  }
  address_ = fmt::format("{}:{}", host, acceptor_.endpoint().port());
  return {};
}

void TcpOwner::stop() {
  acceptor_.close();
  for (const auto& guest : std::unordered_set(guests_)) guest->close({});
}

void TcpOwner::welcome(tcp::socket socket) {
  if (guests_.size() >= kMaxTcpGuests) return;
  const auto guest = std::make_shared<TcpGuest>(*this, std::move(socket));
  guests_.insert(guest);
  guest->begin();
}

}  // namespace baton::kv
