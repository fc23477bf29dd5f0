#include "perf/kv_transfer/raw_limits.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <span>

#include "core/units.h"
#include "perf/kv_transfer/processes.h"

namespace baton::perf {
namespace {

constexpr std::size_t kPieces = 512;  // of one call

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

// Memory of all blocks, touched, and the order in which they are used.
class Place {
 public:
  Place(const BlockShape& shape, unsigned seed, char fill) : bytes_(shape.bytes) {
    const std::size_t size = static_cast<std::size_t>(shape.blocks) * shape.bytes;
    void* mapped =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) die("mmap");
    memory_ = static_cast<std::byte*>(mapped);
    size_ = size;
    std::memset(memory_, fill, size);
    order_.resize(static_cast<std::size_t>(shape.blocks));
    std::iota(order_.begin(), order_.end(), 0U);
    std::ranges::shuffle(order_, std::mt19937(seed));
  }
  ~Place() { ::munmap(memory_, size_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  [[nodiscard]] std::vector<iovec> pieces() const {
    std::vector<iovec> pieces;
    for (const std::uint32_t block : order_) {
      pieces.push_back({memory_ + std::size_t{block} * bytes_, bytes_});
    }
    return pieces;
  }

 private:
  std::uint32_t bytes_;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::uint32_t> order_;
};

// All pieces through the socket, as many to a call as it takes.
template <class Call>
void move_all(std::vector<iovec> pieces, Call call) {
  std::span<iovec> left(pieces);
  while (!left.empty()) {
    msghdr message{};
    message.msg_iov = left.data();
    message.msg_iovlen = std::min(left.size(), kPieces);
    ssize_t moved = call(message);
    if (moved <= 0) die("raw tcp");
    while (moved > 0) {
      const std::size_t part = std::min(static_cast<std::size_t>(moved), left.front().iov_len);
      left.front().iov_base = static_cast<std::byte*>(left.front().iov_base) + part;
      left.front().iov_len -= part;
      moved -= static_cast<ssize_t>(part);
      if (left.front().iov_len == 0) left = left.subspan(1);
    }
  }
}

template <class Work>
std::vector<double> timed(int repetitions, Work work) {
  std::vector<double> seconds;
  for (int i = 0; i <= repetitions; ++i) {
    const TimePoint begun = Clock::now();
    work();
    if (i > 0) seconds.push_back(to_seconds(Clock::now() - begun));
  }
  return seconds;
}

void end_child(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// A connection to a child process, which runs `serve` on its end. The child ends with it.
class Peer {
 public:
  template <class Serve>
  explicit Peer(Serve serve) {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener, plain, size) != 0 || ::listen(listener, 1) != 0 ||
        ::getsockname(listener, plain, &size) != 0) {
      die("listen");
    }
    child_ = fork_with_me();
    if (child_ == 0) {
      run_on(Core::kOwner);
      const int accepted = ::accept(listener, nullptr, nullptr);
      send_at_once(accepted);
      serve(accepted);
      std::_Exit(0);
    }
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(socket_, plain, size) != 0) die("connect");
    send_at_once(socket_);
    ::close(listener);
  }
  ~Peer() {
    ::close(socket_);
    end_child(child_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  [[nodiscard]] int socket() const { return socket_; }

 private:
  static void send_at_once(int socket) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  pid_t child_ = -1;
  int socket_ = -1;
};

// Reads exactly so many bytes, waiting in epoll_wait(); false: the other end is gone.
class Waiting {
 public:
  explicit Waiting(int socket) : socket_(socket), epoll_(::epoll_create1(0)) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) die("epoll_ctl");
  }
  [[nodiscard]] bool read(std::span<std::byte> into) const {
    while (!into.empty()) {
      epoll_event event{};
      if (::epoll_wait(epoll_, &event, 1, -1) < 1) continue;
      const ssize_t got = ::recv(socket_, into.data(), into.size(), MSG_DONTWAIT);
      if (got <= 0) return false;
      into = into.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

 private:
  int socket_;
  int epoll_;
};

}  // namespace

std::vector<double> raw_tcp_seconds(const BlockShape& shape, int repetitions, int turn) {
  const auto count = static_cast<std::size_t>(turn);
  const Peer sender([&](int socket) {
    const Place from(shape, 1, 1);
    const auto pieces = from.pieces();
    std::size_t next = 0;
    for (char wanted = 0; ::read(socket, &wanted, 1) == 1;) {
      const std::size_t end = std::min(next + count, pieces.size());
      move_all(
          {pieces.begin() + static_cast<std::ptrdiff_t>(next),
           pieces.begin() + static_cast<std::ptrdiff_t>(end)},
          [socket](const msghdr& message) { return ::sendmsg(socket, &message, MSG_NOSIGNAL); });
      next = end == pieces.size() ? 0 : end;
    }
  });
  const int socket = sender.socket();
  const Place into(shape, 2, 2);
  const auto pieces = into.pieces();
  const auto ask = [socket] {
    const char wanted = 1;
    if (::write(socket, &wanted, 1) != 1) die("write");
  };
  return timed(repetitions, [&] {
    ask();
    for (std::size_t next = 0; next < pieces.size(); next += count) {
      const std::size_t end = std::min(next + count, pieces.size());
      if (end < pieces.size()) ask();
      move_all({pieces.begin() + static_cast<std::ptrdiff_t>(next),
                pieces.begin() + static_cast<std::ptrdiff_t>(end)},
               [socket](msghdr& message) { return ::recvmsg(socket, &message, 0); });
    }
  });
}

std::vector<double> raw_ping_pong_seconds(std::uint32_t bytes, int repetitions) {
  constexpr std::size_t kQuestion = 64;
  const Peer other([bytes](int socket) {
    const Waiting waiting(socket);
    std::vector<std::byte> question(kQuestion);
    const std::vector<std::byte> answer(bytes);
    while (waiting.read(question)) {
      if (::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) return;
    }
  });
  const Waiting waiting(other.socket());
  const std::vector<std::byte> question(kQuestion);
  std::vector<std::byte> answer(bytes);
  return timed(repetitions, [&] {
    if (::send(other.socket(), question.data(), question.size(), MSG_NOSIGNAL) < 0) die("send");
    if (!waiting.read(answer)) die("read");
  });
}

std::vector<double> raw_vm_readv_seconds(const BlockShape& shape, int repetitions) {
  const Place from(shape, 1, 1);  // at the same address in the child, which has pages of its own
  int ready[2];
  if (::pipe(ready) != 0) die("pipe");
  const pid_t child = fork_with_me();
  if (child == 0) {
    for (const iovec& piece : from.pieces()) std::memset(piece.iov_base, 3, piece.iov_len);
    if (::write(ready[1], "r", 1) != 1) std::_Exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  if (::read(ready[0], &byte, 1) != 1) die("read");
  const Place into(shape, 2, 2);
  const auto theirs = from.pieces();
  const auto ours = into.pieces();
  auto seconds = timed(repetitions, [&] {
    for (std::size_t at = 0; at < ours.size(); at += kPieces) {
      const std::size_t count = std::min(kPieces, ours.size() - at);
      if (::process_vm_readv(child, &ours[at], count, &theirs[at], count, 0) <= 0) {
        die("process_vm_readv");
      }
    }
  });
  ::close(ready[0]);
  ::close(ready[1]);
  end_child(child);
  return seconds;
}

std::vector<double> raw_memcpy_seconds(const BlockShape& shape, int repetitions) {
  const Place from(shape, 1, 1);
  const Place into(shape, 2, 2);
  const auto theirs = from.pieces();
  const auto ours = into.pieces();
  return timed(repetitions, [&] {
    for (std::size_t i = 0; i < ours.size(); ++i) {
      std::memcpy(ours[i].iov_base, theirs[i].iov_base, ours[i].iov_len);
    }
  });
}

}  // namespace baton::perf
