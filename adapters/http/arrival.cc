#include "adapters/http/arrival.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <ctime>

namespace baton::adapters::http {
namespace {

// For how long the bytes of a message have been here. The kernel tells by the wall clock: a step of
// it in the meantime must not put their arrival into the future.
Duration age_of(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec then{};
    std::memcpy(&then, CMSG_DATA(part), sizeof then);
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    const Duration age = std::chrono::seconds(now.tv_sec - then.tv_sec) +
                         std::chrono::nanoseconds(now.tv_nsec - then.tv_nsec);
    return std::max(age, Duration::zero());
  }
  return Duration::zero();
}

}  // namespace

bool note_arrivals(int socket) {
  const int on = 1;
  return ::setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0;
}

ssize_t receive_noting_arrival(int socket, std::span<char> room, TimePoint& arrived) {
  iovec piece{room.data(), room.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT);
  if (got > 0) arrived = Clock::now() - age_of(message);
  return got;
}

Duration since_last_data(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return Duration::zero();
  return std::chrono::milliseconds(info.tcpi_last_data_recv);
}

}  // namespace baton::adapters::http
