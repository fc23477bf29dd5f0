#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "kv_transfer/baton_kv.h"
#include "kv_transfer/c_api/guard.h"
#include "kv_transfer/cuda/copier.h"

// NOLINTBEGIN(readability-identifier-naming): the C API's name
struct baton_kv_copier {
  std::mutex mutex;  // of the calls
  std::unique_ptr<baton::kv::cuda::Copier> copier;
  std::uint64_t last_ticket = 0;
};
// NOLINTEND(readability-identifier-naming)

namespace baton::kv::c_api {

// What baton_kv_copier_create() gives out, over any driver. Errors: those of cuda::Copier::open().
[[nodiscard]] Outcome<std::unique_ptr<baton_kv_copier>> make_copier(
    const cuda::DriverTable& driver, const cuda::Copier::Options& options);

}  // namespace baton::kv::c_api
