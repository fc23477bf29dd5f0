#pragma once

#include <chrono>
#include <memory>

#include "core/units.h"
#include "kv_transfer/cuda/primary_context.h"
#include "kv_transfer/nccl/nccl_library.h"

namespace baton::kv {

// How long calls of NCCL may take before the communicator is given up.
struct NcclLimits {
  Duration setup = std::chrono::seconds(60);  // of a communicator; a reader's deadline is shorter
  Duration stall = std::chrono::seconds(10);  // of one chunk under way
  Duration abort = std::chrono::seconds(10);  // of the end, before its thread is left to itself
};

// What all communicators of a transport share; it does not change.
struct NcclContext {
  nccl::Library nccl;
  int version = 0;
  std::shared_ptr<const cuda::PrimaryContext> gpu;
  NcclLimits limits{};
};

}  // namespace baton::kv
