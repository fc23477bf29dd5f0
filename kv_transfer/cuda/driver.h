#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "kv_transfer/cuda/driver_functions.h"

namespace baton::kv::cuda {

inline constexpr const char* kDriverLibrary = "libcuda.so.1";

// Opens NVIDIA's driver, which stays open to the end of the process. Any thread. Errors:
// kUnsupported, where it is not installed or lacks functions.
[[nodiscard]] Result<DriverTable> load_driver(const char* library = kDriverLibrary);

// The failure of a call, in the driver's words: kUnavailable and worth another try, since KV can go
// another way.
[[nodiscard]] Error driver_failure(const DriverTable& driver, std::string_view doing,
                                   Status status);
// Errors: driver_failure(), unless `status` is success.
[[nodiscard]] Result<void> check(const DriverTable& driver, std::string_view doing, Status status);

}  // namespace baton::kv::cuda
