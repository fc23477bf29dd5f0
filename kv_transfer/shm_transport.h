#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// Blocks between pods of one host: the owner passes its arena's memfd, sealed against writing, over
// an abstract Unix socket to whoever shows the one-time token of the handshake and runs as the same
// user; the reader maps it read-only and copies. Errors: kUnavailable where the socket cannot be.
[[nodiscard]] Result<std::unique_ptr<Transport>> make_shm_transport(Loop loop, BlockArena& arena);

}  // namespace baton::kv
