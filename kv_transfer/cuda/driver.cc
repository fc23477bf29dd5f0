#include "kv_transfer/cuda/driver.h"

#include <fmt/format.h>

#include "kv_transfer/symbols.h"

namespace baton::kv::cuda {

Result<DriverTable> load_driver(const char* library) {
  DriverTable driver;
  Symbols symbols(library);
#define BATON_FIND_FUNCTION(member, symbol, parameters) symbols.bind(driver.member, #symbol);
  BATON_CUDA_DRIVER_FUNCTIONS(BATON_FIND_FUNCTION)
#undef BATON_FIND_FUNCTION
  auto complete = symbols.result(
      "install NVIDIA's driver, 580 or later, on the host; a container needs the NVIDIA Container "
      "Toolkit and --gpus too");
  if (!complete) return std::unexpected(complete.error());
  return driver;
}

Error driver_failure(const DriverTable& driver, std::string_view doing, Status status) {
  const char* name = nullptr;
  const char* text = nullptr;
  (void)driver.get_error_name(status, &name);
  (void)driver.get_error_text(status, &text);
  std::string what = fmt::format("cuda: {} failed: {}", doing,
                                 name != nullptr ? name : fmt::format("error {}", status));
  if (text != nullptr) what += fmt::format(" ({})", text);
  return {ErrorCode::kUnavailable, Stage::kHandoff, std::move(what), true};
}

Result<void> check(const DriverTable& driver, std::string_view doing, Status status) {
  if (status == kSuccess) return {};
  return std::unexpected(driver_failure(driver, doing, status));
}

}  // namespace baton::kv::cuda
