#include "kv_transfer/cuda/kernels.h"

namespace baton::kv::cuda {

#ifdef BATON_CUDA
std::string_view strided_copy_fatbin();  // written by cmake/embed.cmake

std::string_view copy_kernels() { return strided_copy_fatbin(); }
#else
std::string_view copy_kernels() { return {}; }
#endif

}  // namespace baton::kv::cuda
