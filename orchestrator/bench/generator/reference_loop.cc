#include "orchestrator/bench/generator/reference_loop.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <limits>
#include <system_error>
#include <utility>

#include "adapters/http/arrival.h"

namespace baton::orchestrator::bench {
namespace {

using End = ReferenceAnswer::End;
using State = adapters::http::RequestReader::State;

// So many wake up, or are heard, before the other kind has its turn.
constexpr int kBatch = 16;
constexpr std::size_t kInput = 64 << 10;
// Beside connections, as epoll names what it has heard.
constexpr std::uint64_t kListener = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kStop = kListener - 1;

adapters::http::ServerLimits limits_of_server() {
  adapters::http::ServerLimits limits;
  limits.body = Bytes(256LL << 20);
  return limits;
}

void watch(int epoll, int fd, std::uint32_t events, std::uint64_t who) {
  epoll_event event{.events = events, .data = {.u64 = who}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// A listening socket, or -errno.
int listen_at(const addrinfo& address) {
  const int fd = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, SOMAXCONN) == 0) {
    return fd;
  }
  const int why = errno;
  ::close(fd);
  return -why;
}

}  // namespace

Result<std::unique_ptr<ReferenceLoop>> ReferenceLoop::listen(const ReferenceOptions& options) {
  const auto cannot = [&options](const std::string& why) {
    return fail(
        ErrorCode::kInvalidArgument, Stage::kRouter,
        "cannot listen on " + options.host + ":" + std::to_string(options.port) + ": " + why);
  };
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(options.host.c_str(), std::to_string(options.port).c_str(), &hints, &found) !=
      0) {
    return cannot("not an IP address");
  }
  const int listener = listen_at(*found);
  ::freeaddrinfo(found);
  if (listener < 0) return cannot(std::system_category().message(-listener));
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    ::close(listener);
    return cannot(std::system_category().message(errno));
  }
  watch(epoll, listener, EPOLLIN, kListener);
  return std::make_unique<ReferenceLoop>(options, epoll, listener);
}

ReferenceLoop::ReferenceLoop(const ReferenceOptions& options, int epoll, int listener)
    : limits_(limits_of_server()),
      keep_truth_(options.keep_truth),
      answers_(options),
      epoll_(epoll),
      listener_(listener),
      input_(kInput, '\0') {}

ReferenceLoop::~ReferenceLoop() {
  close_all();
  ::close(listener_);
  ::close(epoll_);
}

void ReferenceLoop::close_all() {
  for (const auto& connection : connections_) close(*connection);
}

std::uint16_t ReferenceLoop::port() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  // The port lies at the same place for both families.
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void ReferenceLoop::run(int stop) {
  if (stop >= 0) watch(epoll_, stop, EPOLLIN, kStop);
  std::array<epoll_event, kBatch> events;
  for (;;) {
    timespec left{};
    const timespec* timeout = nullptr;
    if (!sleeping_.empty()) {
      const Duration pause = std::max(sleeping_.front().at - Clock::now(), Duration::zero());
      const auto seconds = std::chrono::floor<std::chrono::seconds>(pause);
      left = {.tv_sec = seconds.count(), .tv_nsec = Duration(pause - seconds).count()};
      timeout = &left;
    }
    const int count = ::epoll_pwait2(epoll_, events.data(), kBatch, timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      const std::uint64_t who = event.data.u64;
      if (who == kStop) return;
      if (who == kListener) {
        accept_all();
      } else if (Connection& heard = *connections_[who & 0xFFFFFFFF]; heard.life == who >> 32) {
        handle(heard, event.events);
      }
    }
    play_due();
  }
}

void ReferenceLoop::accept_all() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    adapters::http::note_arrivals(fd);
    if (free_places_.empty()) {
      free_places_.push_back(static_cast<std::uint32_t>(connections_.size()));
      connections_.push_back(std::make_unique<Connection>(limits_, free_places_.back()));
    }
    Connection& connection = *connections_[free_places_.back()];
    free_places_.pop_back();
    connection.fd = fd;
    watch(epoll_, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
          std::uint64_t{connection.life} << 32 | connection.place);
  }
}

void ReferenceLoop::handle(Connection& connection, std::uint32_t events) {
  if (connection.fd >= 0 && (events & EPOLLOUT) != 0) flush(connection);
  if (connection.fd >= 0 && (events & EPOLLIN) != 0) receive(connection);
  if (connection.fd >= 0 && (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) close(connection);
}

void ReferenceLoop::receive(Connection& connection) {
  while (connection.fd >= 0) {
    const ssize_t got =
        adapters::http::receive_noting_arrival(connection.fd, input_, connection.received);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      close(connection);
      return;
    }
    const auto size = static_cast<std::size_t>(got);
    read_requests(connection, std::string_view(input_).substr(0, size));
    if (size < input_.size()) return;  // epoll tells of what comes from now on
  }
}

// Ends with what belongs to no whole request yet, or waits for its turn.
void ReferenceLoop::read_requests(Connection& connection, std::string_view fresh) {
  std::string_view input = fresh;
  if (!connection.unread.empty()) input = connection.unread.append(fresh);
  bool more = true;
  while (more && connection.fd >= 0 && !connection.answering && !connection.closing &&
         !input.empty()) {
    const std::size_t taken = connection.reader.take(input);
    input.remove_prefix(taken);
    const State state = connection.reader.state();
    more = taken > 0;
    if (state == State::kComplete) begin(connection);
    if (state == State::kRefused) {
      const adapters::http::Refusal& refusal = connection.reader.refusal();
      refuse(connection, refusal.status, refusal_body(refusal));
      return;
    }
  }
  if (connection.fd >= 0) connection.unread = std::string(input);
}

void ReferenceLoop::refuse(Connection& connection, unsigned status, std::string_view body) {
  connection.closing = true;
  send(connection, ReferenceAnswers::whole(status, body, "connection: close\r\n"));
}

void ReferenceLoop::begin(Connection& connection) {
  const TimePoint received = connection.received;
  if (connection.reader.head().http10) {
    refuse(connection, 505, R"({"error":{"message":"HTTP/1.1 only"}})");
    return;
  }
  connection.answer = answers_.answer(connection.reader.request());
  const ReferenceAnswer& answer = connection.answer;
  connection.answering = true;
  connection.tokens_sent = 0;
  connection.due = received + answer.first;
  if (answer.completion) {
    requests_.fetch_add(1, std::memory_order_relaxed);
    connection.truth = truth_.size();
    if (keep_truth_) truth_.push_back({answer.id, received, {}, {}, false});
  }
  if (answer.head_at_once) send(connection, answer.head);
  if (connection.fd < 0) return;
  if (answer.first == Duration::zero()) {
    play(connection);
  } else {
    sleep(connection);
  }
}

// Sends what is due now: a token, or all of them.
void ReferenceLoop::play(Connection& connection) {
  const ReferenceAnswer& answer = connection.answer;
  const int left = answer.tokens - connection.tokens_sent;
  const int count = answer.gap == Duration::zero() ? left : std::min(left, 1);
  const bool last = count == left;
  output_.clear();
  if (connection.tokens_sent == 0 && !answer.head_at_once) output_ += answer.head;
  for (int i = 0; i < count; ++i) output_ += answer.token;
  if (last) output_ += answer.tail;
  connection.tokens_sent += count;
  note_write(connection, count, last);
  if (!output_.empty()) send(connection, output_);
  if (connection.fd < 0) return;
  if (last) {
    end(connection);
  } else {
    connection.due += answer.gap;
    sleep(connection);
  }
}

void ReferenceLoop::note_write(const Connection& connection, int tokens, bool last) {
  if (!keep_truth_ || !connection.answer.completion) return;
  ServedTruth& truth = truth_[connection.truth];
  const TimePoint now = Clock::now();
  truth.tokens.insert(truth.tokens.end(), static_cast<std::size_t>(tokens), now);
  if (last) truth.ended = now;
}

void ReferenceLoop::end(Connection& connection) {
  switch (connection.answer.end) {
    case End::kHold: return;
    case End::kReset: {
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close(connection);
      return;
    }
    case End::kClose: connection.closing = true; break;
    case End::kKeep:
      if (keep_truth_ && connection.answer.completion) truth_[connection.truth].whole = true;
      connection.answering = false;
      connection.closing = !connection.reader.head().keep_alive;
      connection.reader.reset();
  }
  if (connection.closing) flush(connection);
}

void ReferenceLoop::send(Connection& connection, std::string_view bytes) {
  if (!connection.unsent.empty()) {
    connection.unsent += bytes;
    return;
  }
  const ssize_t sent = ::send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) {
    close(connection);
    return;
  }
  const std::size_t done = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  if (done < bytes.size()) {
    connection.unsent = bytes.substr(done);
  } else if (connection.closing) {
    close(connection);
  }
}

void ReferenceLoop::flush(Connection& connection) {
  if (!connection.unsent.empty()) {
    send(connection, std::exchange(connection.unsent, {}));
  } else if (connection.closing) {
    close(connection);
  }
}

void ReferenceLoop::close(Connection& connection) {
  if (connection.fd < 0) return;
  ::close(connection.fd);
  connection.fd = -1;
  ++connection.life;
  connection.reader.reset();
  connection.unread = {};
  connection.unsent = {};
  connection.answering = connection.closing = false;
  free_places_.push_back(connection.place);
}

void ReferenceLoop::sleep(Connection& connection) {
  sleeping_.push_back({connection.due, connection.place, connection.life});
  std::ranges::push_heap(sleeping_, std::greater<>());
}

void ReferenceLoop::play_due() {
  const TimePoint now = Clock::now();
  for (int i = 0; i < kBatch && !sleeping_.empty() && sleeping_.front().at <= now; ++i) {
    std::ranges::pop_heap(sleeping_, std::greater<>());
    const Due due = sleeping_.back();
    sleeping_.pop_back();
    Connection& connection = *connections_[due.place];
    if (connection.life != due.life) continue;
    play(connection);
    if (connection.fd >= 0 && !connection.unread.empty()) read_requests(connection, {});
  }
}

}  // namespace baton::orchestrator::bench
