#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// Blocks over a TCP connection of our own framing, driven by the receiver: it names the slots and
// generations that it wants, the owner answers in that order, gathering from its slots what the
// receiver scatters straight into its own. A connection opens with the one-time token of the
// handshake. `host` is the interface to listen on. Errors: kUnavailable, kInvalidArgument (a host
// that cannot be listened on).
[[nodiscard]] Result<std::unique_ptr<Transport>> make_tcp_transport(Loop loop, BlockArena& arena,
                                                                    const std::string& host);

}  // namespace baton::kv
