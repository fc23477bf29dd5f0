#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>

namespace baton::kv {

// Ends a connection whose other end takes or answers nothing for 5 s, be it stopped, without a
// route or without power; an idle one of a host that is gone, too. What is pinned for it, or waited
// for from it, is wanted back.
inline void notice_loss(int socket) {
  constexpr int kTakeTime_ms = 5'000;
  constexpr std::pair<int, int> kProbes[] = {
      {TCP_USER_TIMEOUT, kTakeTime_ms}, {TCP_KEEPIDLE, 2}, {TCP_KEEPINTVL, 1}, {TCP_KEEPCNT, 3}};
  const int on = 1;
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  for (const auto& [option, value] : kProbes) {
    (void)::setsockopt(socket, IPPROTO_TCP, option, &value, sizeof value);
  }
}

}  // namespace baton::kv
