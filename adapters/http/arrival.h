#pragma once

#include <sys/types.h>

#include <span>

#include "core/units.h"

namespace baton::adapters::http {

// Has the kernel note when bytes arrive at a socket (SO_TIMESTAMPNS). False: it cannot.
bool note_arrivals(int socket);

// recv() on such a socket, without waiting. `arrived` becomes the time at which the last of the
// bytes came to this machine, however late they are read; now, where the kernel does not tell.
[[nodiscard]] ssize_t receive_noting_arrival(int socket, std::span<char> room, TimePoint& arrived);

// How long ago this machine got the last data of a TCP connection, however late the process reads
// it; to within some milliseconds (tcp_info).
[[nodiscard]] Duration since_last_data(int socket);

}  // namespace baton::adapters::http
