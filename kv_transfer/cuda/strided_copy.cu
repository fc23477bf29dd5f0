// Compiled by nvcc to a fatbin that the binary carries; strided_copy.h has what the kernels do.

#include "kv_transfer/cuda/strided_copy.h"

#define BATON_DEFINE_KERNEL(bytes, unit, name)                                                    \
  static_assert(sizeof(unit) == bytes, "a kernel moves units of its own width");                  \
  extern "C" __global__ void __launch_bounds__(::baton::kv::cuda::kThreadsPerBlock)               \
      name(::baton::kv::cuda::CopyLaunch launch) {                                                \
    ::baton::kv::cuda::copy_as_thread<unit>(launch,                                               \
                                            std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x, \
                                            std::uint64_t{gridDim.x} * blockDim.x);               \
  }

BATON_COPY_KERNELS(BATON_DEFINE_KERNEL)
