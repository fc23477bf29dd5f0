// What is declared of NCCL, held against its own header (which wants CUDA's) where the compiler
// finds them (CPLUS_INCLUDE_PATH): a difference does not compile.
#include <gtest/gtest.h>

#include <cstddef>

#include "kv_transfer/nccl/nccl_library.h"

#if __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#include <nccl.h>

namespace baton::kv {
namespace {

template <class Ours, class Theirs>
constexpr bool same(Ours ours, Theirs theirs) {
  return static_cast<long>(ours) == static_cast<long>(theirs);
}

static_assert(sizeof(nccl::UniqueId) == sizeof(ncclUniqueId));
static_assert(sizeof(nccl::Status) == sizeof(ncclResult_t));
static_assert(sizeof(int) == sizeof(ncclDataType_t) && nccl::kInt8 == ncclInt8);
static_assert(sizeof(nccl::Config) <= sizeof(ncclConfig_t));
static_assert(offsetof(nccl::Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(nccl::Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(nccl::Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(offsetof(nccl::Config, cga_cluster_size) == offsetof(ncclConfig_t, cgaClusterSize));
static_assert(offsetof(nccl::Config, min_ctas) == offsetof(ncclConfig_t, minCTAs));
static_assert(offsetof(nccl::Config, max_ctas) == offsetof(ncclConfig_t, maxCTAs));
static_assert(offsetof(nccl::Config, net_name) == offsetof(ncclConfig_t, netName));
static_assert(same(nccl::Config{}.magic, NCCL_API_MAGIC));
static_assert(same(nccl::Config{}.version, NCCL_VERSION(2, 17, 0)));
static_assert(same(nccl::Config{}.min_ctas, NCCL_CONFIG_UNDEF_INT));
static_assert(same(nccl::Status::kSuccess, ncclSuccess));
static_assert(same(nccl::Status::kUnhandledCudaError, ncclUnhandledCudaError));
static_assert(same(nccl::Status::kSystemError, ncclSystemError));
static_assert(same(nccl::Status::kInternalError, ncclInternalError));
static_assert(same(nccl::Status::kInvalidArgument, ncclInvalidArgument));
static_assert(same(nccl::Status::kInvalidUsage, ncclInvalidUsage));
static_assert(same(nccl::Status::kRemoteError, ncclRemoteError));
static_assert(same(nccl::Status::kInProgress, ncclInProgress));

TEST(NcclAbi, IsThatOfTheHeaders) { SUCCEED(); }

}  // namespace
}  // namespace baton::kv
#else
TEST(NcclAbi, IsThatOfTheHeaders) {
  GTEST_SKIP() << "nccl.h and cuda_runtime.h are not among the headers: set CPLUS_INCLUDE_PATH to "
                  "their folders and compile again";
}
#endif
