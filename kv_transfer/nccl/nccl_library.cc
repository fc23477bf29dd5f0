#include "kv_transfer/nccl/nccl_library.h"

#include <fmt/format.h>

#include "kv_transfer/symbols.h"

namespace baton::kv::nccl {
namespace {

constexpr std::string_view kRemedy =
    "install NCCL 2.17 or later (the package libnccl2, or nvidia-nccl-cu13 of PyPI) and put its "
    "folder into LD_LIBRARY_PATH if the loader does not search it";

}  // namespace

Result<Library> open_library(const std::string& file) {
  Library library;
  Symbols symbols(file);
  symbols.bind(library.get_version, "ncclGetVersion")
      .bind(library.get_unique_id, "ncclGetUniqueId")
      .bind(library.comm_init_rank_config, "ncclCommInitRankConfig")
      .bind(library.comm_get_async_error, "ncclCommGetAsyncError")
      .bind(library.send, "ncclSend")
      .bind(library.recv, "ncclRecv")
      .bind(library.comm_abort, "ncclCommAbort")
      .bind(library.get_error_string, "ncclGetErrorString");
  if (auto complete = symbols.result(std::string(kRemedy)); !complete) {
    return std::unexpected(complete.error());
  }
  return library;
}

Result<int> usable_version(const Library& library) {
  int version = 0;
  if (const Status status = library.get_version(&version); status != Status::kSuccess) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                fmt::format("NCCL does not tell its version ({}): {}",
                            library.get_error_string(status), kRemedy));
  }
  if (version < kOldestVersion) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                fmt::format("NCCL {} is too old: {}", version_text(version), kRemedy));
  }
  return version;
}

std::string version_text(int version) {
  const bool is_old = version < 10000;  // up to 2.8, which had one digit for the minor number
  const int major = version / (is_old ? 1000 : 10000);
  const int minor = version / 100 % (is_old ? 10 : 100);
  return fmt::format("{}.{}.{}", major, minor, version % 100);
}

Result<void> check(const Library& library, std::string_view what, Status status) {
  if (status == Status::kSuccess || status == Status::kInProgress) return {};
  return fail(ErrorCode::kUnavailable, Stage::kHandoff,
              fmt::format("nccl: {}: {}", what, library.get_error_string(status)), true);
}

}  // namespace baton::kv::nccl
