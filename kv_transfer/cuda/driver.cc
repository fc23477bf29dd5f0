#include "kv_transfer/cuda/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace baton::kv::cuda {
namespace {

std::unexpected<Error> no_driver(std::string message) {
  return fail(ErrorCode::kUnsupported, Stage::kConfig, std::move(message));
}

}  // namespace

Result<DriverTable> load_driver(const char* library) {
  void* opened = ::dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (opened == nullptr) {
    return no_driver(
        fmt::format("cuda: NVIDIA's driver cannot be opened ({}). Install it on the host; a "
                    "container needs the NVIDIA Container Toolkit and --gpus",
                    ::dlerror()));
  }
  DriverTable driver;
  const char* missing = nullptr;
  const auto find = [opened, &missing]<class F>(F& function, const char* symbol) {
    function = reinterpret_cast<F>(::dlsym(opened, symbol));
    if (function == nullptr && missing == nullptr) missing = symbol;
  };
#define BATON_FIND_FUNCTION(member, symbol, parameters) find(driver.member, #symbol);
  BATON_CUDA_DRIVER_FUNCTIONS(BATON_FIND_FUNCTION)
#undef BATON_FIND_FUNCTION
  ::dlclose(opened);
  if (missing == nullptr) return driver;
  return no_driver(
      fmt::format("cuda: {} has no {}: it is no driver, or too old. Install driver 580 or later",
                  library, missing));
}

Error driver_failure(const DriverTable& driver, std::string_view doing, Status status) {
  const char* name = nullptr;
  const char* text = nullptr;
  (void)driver.get_error_name(status, &name);
  (void)driver.get_error_text(status, &text);
  std::string what = fmt::format("cuda: {} failed: {}", doing,
                                 name != nullptr ? name : fmt::format("error {}", status));
  if (text != nullptr) what += fmt::format(" ({})", text);
  return {ErrorCode::kUnavailable, Stage::kHandoff, std::move(what)};
}

}  // namespace baton::kv::cuda
