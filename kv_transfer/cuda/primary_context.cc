#include "kv_transfer/cuda/primary_context.h"

#include <fmt/format.h>

namespace baton::kv::cuda {
namespace {

std::unexpected<Error> no_gpu() {
  return fail(ErrorCode::kUnsupported, Stage::kConfig,
              "cuda: the driver finds no GPU. See what nvidia-smi lists and CUDA_VISIBLE_DEVICES "
              "allows; a container needs --gpus");
}

}  // namespace

Result<std::shared_ptr<const PrimaryContext>> PrimaryContext::open(const DriverTable& driver,
                                                                   int ordinal) {
  const Status started = driver.init(0);
  if (started == kNoDevice) return no_gpu();
  auto good = check(driver, "starting the driver", started);
  int count = 0;
  if (good) good = check(driver, "counting GPUs", driver.count_devices(&count));
  if (!good) return std::unexpected(good.error());
  if (count == 0) return no_gpu();
  if (ordinal < 0 || ordinal >= count) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                fmt::format("cuda: there is no device {}, only 0 to {}, of those that "
                            "CUDA_VISIBLE_DEVICES allows",
                            ordinal, count - 1));
  }
  Device device = 0;
  Context context = nullptr;
  good = check(driver, "naming a GPU", driver.get_device(&device, ordinal));
  if (good) {
    good =
        check(driver, "taking the GPU's primary context", driver.retain_context(&context, device));
  }
  if (!good) return std::unexpected(good.error());
  return std::shared_ptr<const PrimaryContext>(new PrimaryContext(driver, device, context));
}

PrimaryContext::~PrimaryContext() { (void)driver_.release_context(device_); }

Result<void> PrimaryContext::use_in_this_thread() const {
  return check(driver_, "taking the GPU for a thread", driver_.set_context(context_));
}

}  // namespace baton::kv::cuda
