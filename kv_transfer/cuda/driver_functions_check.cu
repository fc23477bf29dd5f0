// Compiled when BATON_CUDA is ON, for its assertions alone: what driver_functions.h declares is
// what cuda.h declares.

#include <cuda.h>

#include <type_traits>

#include "kv_transfer/cuda/driver_functions.h"

namespace baton::kv::cuda {
namespace {

// Enumerations are passed as int.
template <class T>
using Plain = std::conditional_t<std::is_enum_v<T>, int, T>;
template <class T>
struct Signature;
template <class R, class... A>
struct Signature<R(A...)> {
  using Type = Plain<R>(Plain<A>...);
};

#define BATON_CHECK_FUNCTION(member, symbol, parameters)                                          \
  static_assert(std::is_same_v<Signature<decltype(::symbol)>::Type, Status parameters>, #symbol); \
  static_assert(sizeof(DriverTable::member) == sizeof(void*), #member);
BATON_CUDA_DRIVER_FUNCTIONS(BATON_CHECK_FUNCTION)

constexpr bool same(const char* ours, const char* theirs) {
  while (*ours != '\0' && *ours == *theirs) ++ours, ++theirs;
  return *ours == *theirs;
}
// That the version of a symbol is the one that cuda.h gives to its plain name.
#define BATON_SPELL_(name) #name
#define BATON_SPELL(name) BATON_SPELL_(name)
static_assert(same("cuDevicePrimaryCtxRelease_v2", BATON_SPELL(cuDevicePrimaryCtxRelease)), "");
static_assert(same("cuCtxPushCurrent_v2", BATON_SPELL(cuCtxPushCurrent)), "");
static_assert(same("cuCtxPopCurrent_v2", BATON_SPELL(cuCtxPopCurrent)), "");
static_assert(same("cuStreamDestroy_v2", BATON_SPELL(cuStreamDestroy)), "");
static_assert(same("cuEventDestroy_v2", BATON_SPELL(cuEventDestroy)), "");
static_assert(same("cuMemAlloc_v2", BATON_SPELL(cuMemAlloc)), "");
static_assert(same("cuMemFree_v2", BATON_SPELL(cuMemFree)), "");
static_assert(same("cuMemAllocHost_v2", BATON_SPELL(cuMemAllocHost)), "");
static_assert(same("cuMemcpyHtoDAsync_v2", BATON_SPELL(cuMemcpyHtoDAsync)), "");
static_assert(same("cuMemcpyDtoHAsync_v2", BATON_SPELL(cuMemcpyDtoHAsync)), "");

static_assert(kSuccess == CUDA_SUCCESS && kNotReady == CUDA_ERROR_NOT_READY, "");
static_assert(kNoDevice == CUDA_ERROR_NO_DEVICE, "");
static_assert(kMultiprocessors == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, "");
static_assert(kCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, "");
static_assert(kCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, "");
static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING, "");
static_assert(kEventDisableTiming == CU_EVENT_DISABLE_TIMING, "");

}  // namespace
}  // namespace baton::kv::cuda
