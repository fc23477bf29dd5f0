#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/cuda/driver.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/nccl_context.h"
#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

struct NcclOptions {
  std::string host = "127.0.0.1";  // to listen on
  int gpu = 0;                     // of those that CUDA_VISIBLE_DEVICES leaves
  NcclLimits limits{};
};

// Blocks from GPU to GPU: a reader asks for them over a connection as that of the tcp transport,
// and their bytes come packed over a communicator of NCCL that the two make for it and throw away
// when either goes or anything fails. `nccl` and `driver` are functions found at run time. Blocks
// for a second or so, in which it tries them. Errors: kUnsupported (this NCCL or GPU will not do,
// and why), kUnavailable, kInvalidArgument (a host that cannot be listened on).
[[nodiscard]] Result<std::unique_ptr<Transport>> make_nccl_transport(
    Loop loop, BlockArena& arena, const NcclOptions& options, const nccl::Library& nccl,
    const cuda::DriverTable& driver);
// The same with the libraries of this machine. Errors: also kUnsupported where one is missing,
// naming all that is and how to mend it.
[[nodiscard]] Result<std::unique_ptr<Transport>> make_nccl_transport(Loop loop, BlockArena& arena,
                                                                     const NcclOptions& options);

}  // namespace baton::kv
