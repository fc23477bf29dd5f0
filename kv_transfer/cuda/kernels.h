#pragma once

#include <string_view>

namespace baton::kv::cuda {

// The fatbin of strided_copy.cu, for compute capability 8.0, 9.0, 10.0 and what is compatible with
// them or newer; empty in a build without BATON_CUDA.
[[nodiscard]] std::string_view copy_kernels();

}  // namespace baton::kv::cuda
