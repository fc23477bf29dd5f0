#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

struct TcpOptions {
  std::string host = "127.0.0.1";  // interface to listen on
  int connections = 1;             // that a reader opens to each owner, 1 to 4
};

// Blocks over TCP connections of our own framing, driven by the receiver: it names the slots and
// generations that it wants, the owner answers in that order, gathering from its slots what the
// receiver scatters straight into its own. A connection opens with a one-time token of the
// handshake. Errors: kUnavailable, kInvalidArgument (a host that cannot be listened on, or a number
// of connections that cannot be).
[[nodiscard]] Result<std::unique_ptr<Transport>> make_tcp_transport(Loop loop, BlockArena& arena,
                                                                    const TcpOptions& options);

}  // namespace baton::kv
