#include "perf/kv_raw_limits.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
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

[[noreturn]] void serve_blocks(int listener, const BlockShape& shape) {
  const int socket = ::accept(listener, nullptr, nullptr);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const Place from(shape, 1, 1);
  for (char wanted = 0; ::read(socket, &wanted, 1) == 1;) {
    move_all(from.pieces(),
             [socket](const msghdr& message) { return ::sendmsg(socket, &message, MSG_NOSIGNAL); });
  }
  std::_Exit(0);
}

}  // namespace

std::vector<double> raw_tcp_seconds(const BlockShape& shape, int repetitions) {
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
  const pid_t child = ::fork();
  if (child == 0) serve_blocks(listener, shape);
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(socket, plain, size) != 0) die("connect");
  const Place into(shape, 2, 2);
  auto seconds = timed(repetitions, [&] {
    const char wanted = 1;
    if (::write(socket, &wanted, 1) != 1) die("write");
    move_all(into.pieces(), [socket](msghdr& message) { return ::recvmsg(socket, &message, 0); });
  });
  ::close(socket);
  ::close(listener);
  end_child(child);
  return seconds;
}

std::vector<double> raw_vm_readv_seconds(const BlockShape& shape, int repetitions) {
  const Place from(shape, 1, 1);  // at the same address in the child, which has pages of its own
  int ready[2];
  if (::pipe(ready) != 0) die("pipe");
  const pid_t child = ::fork();
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
