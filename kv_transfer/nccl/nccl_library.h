#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "kv_transfer/cuda/driver_functions.h"

// What we use of NCCL's C interface, declared here because NCCL is opened at run time and not
// needed to compile. tests/gpu/nccl_abi_test.cc compares it with nccl.h where there is one.
namespace baton::kv::nccl {

struct Comm;  // opaque
using cuda::Stream;

enum class Status : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

inline constexpr int kInt8 = 0;  // of ncclDataType_t

struct UniqueId {
  char bytes[128];
};

// ncclConfig_t as of 2.17; later ones add to its end and go by `size` and `version`.
struct Config {
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21700;
  int blocking = INT_MIN;  // INT_MIN: NCCL's own choice, here and below
  int cga_cluster_size = INT_MIN;
  int min_ctas = INT_MIN;
  int max_ctas = INT_MIN;
  const char* net_name = nullptr;
};
static_assert(sizeof(Config) == 40 && sizeof(UniqueId) == 128);

inline constexpr int kOldestVersion = 21700;

// NCCL's functions, as the library has them or as a test plays them.
struct Library {
  Status (*get_version)(int* version) = nullptr;
  Status (*get_unique_id)(UniqueId* id) = nullptr;
  Status (*comm_init_rank_config)(Comm** comm, int ranks, UniqueId id, int rank,
                                  Config* config) = nullptr;
  Status (*comm_get_async_error)(Comm* comm, Status* error) = nullptr;
  Status (*send)(const void* from, std::size_t count, int type, int peer, Comm* comm,
                 Stream stream) = nullptr;
  Status (*recv)(void* into, std::size_t count, int type, int peer, Comm* comm,
                 Stream stream) = nullptr;
  Status (*comm_abort)(Comm* comm) = nullptr;
  const char* (*get_error_string)(Status status) = nullptr;
};

// Errors: kUnsupported, saying what is missing and how to mend it.
[[nodiscard]] Result<Library> open_library(const std::string& file = "libnccl.so.2");

// The version in NCCL's own coding (21703 is 2.17.3). Errors: kUnsupported (too old, or it does not
// say).
[[nodiscard]] Result<int> usable_version(const Library& library);
[[nodiscard]] std::string version_text(int version);

// Errors: kUnavailable, unless `status` is success or in progress.
[[nodiscard]] Result<void> check(const Library& library, std::string_view what, Status status);

}  // namespace baton::kv::nccl
