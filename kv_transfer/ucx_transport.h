#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

struct UcxOptions {
  std::string host = "127.0.0.1";  // that readers connect to
  std::string tls = "tcp";         // UCX_TLS; each must detect the failure of a peer
};

// Blocks by UCX active messages, driven by the receiver: the reader names the slots and generations
// it wants, the owner answers each with one message, whose data UCX puts straight into the reader's
// slot. Nothing remote is ever exposed to one-sided access, so a reader that died or gave up cannot
// have its memory written to later. Progress is event-driven (worker event descriptor in Asio).
// Errors: kUnavailable where UCX or the address cannot be used.
[[nodiscard]] Result<std::unique_ptr<Transport>> make_ucx_transport(Loop loop, BlockArena& arena,
                                                                    const UcxOptions& options);

}  // namespace baton::kv
