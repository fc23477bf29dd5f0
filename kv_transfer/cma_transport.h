#pragma once

#include <memory>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// Blocks between processes of one host that trust each other, read by process_vm_readv(): for
// containers that share a pid namespace and no network. Not among a Node's transports unless it is
// asked for, since whoever may read one block may read all of the owner's memory. An offer names
// the owner's process and a random mark in its memory, which the reader finds there or is at the
// wrong process. Errors: none.
[[nodiscard]] std::unique_ptr<Transport> make_cma_transport(Loop loop, BlockArena& arena);

}  // namespace baton::kv
