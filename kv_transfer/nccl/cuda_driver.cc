#include "kv_transfer/nccl/cuda_driver.h"

#include <fmt/format.h>

#include "kv_transfer/nccl/symbols.h"

namespace baton::kv::gpu {
namespace {

std::string text_of(const Driver& driver, Status status) {
  const char* text = nullptr;
  if (driver.get_error_string(status, &text) == Status::kSuccess && text != nullptr) return text;
  return fmt::format("CUDA error {}", static_cast<int>(status));
}

std::unexpected<Error> unusable(const Driver& driver, std::string_view what, Status status) {
  return fail(ErrorCode::kUnsupported, Stage::kConfig,
              fmt::format("{}: {}; nvidia-smi says whether this process sees a GPU", what,
                          text_of(driver, status)));
}

}  // namespace

Result<Driver> open_driver(const std::string& file) {
  Driver driver;
  Symbols symbols(file);
  symbols.bind(driver.init, "cuInit")
      .bind(driver.device_get_count, "cuDeviceGetCount")
      .bind(driver.device_get, "cuDeviceGet")
      .bind(driver.primary_context_retain, "cuDevicePrimaryCtxRetain")
      .bind(driver.primary_context_release, "cuDevicePrimaryCtxRelease_v2")
      .bind(driver.context_set_current, "cuCtxSetCurrent")
      .bind(driver.mem_alloc, "cuMemAlloc_v2")
      .bind(driver.mem_free, "cuMemFree_v2")
      .bind(driver.mem_alloc_host, "cuMemAllocHost_v2")
      .bind(driver.mem_free_host, "cuMemFreeHost")
      .bind(driver.stream_create, "cuStreamCreate")
      .bind(driver.stream_destroy, "cuStreamDestroy_v2")
      .bind(driver.stream_query, "cuStreamQuery")
      .bind(driver.copy_to_device, "cuMemcpyHtoDAsync_v2")
      .bind(driver.copy_to_host, "cuMemcpyDtoHAsync_v2")
      .bind(driver.event_create, "cuEventCreate")
      .bind(driver.event_destroy, "cuEventDestroy_v2")
      .bind(driver.event_record, "cuEventRecord")
      .bind(driver.event_query, "cuEventQuery")
      .bind(driver.get_error_string, "cuGetErrorString");
  auto complete = symbols.result(
      "install NVIDIA's driver; in a container, let its runtime pass the GPU and the driver "
      "through (docker run --gpus)");
  if (!complete) return std::unexpected(complete.error());
  return driver;
}

Result<void> check(const Driver& driver, std::string_view what, Status status) {
  if (status == Status::kSuccess) return {};
  return fail(ErrorCode::kUnavailable, Stage::kHandoff,
              fmt::format("nccl: {}: {}", what, text_of(driver, status)), true);
}

Result<std::shared_ptr<const Device>> Device::open(const Driver& driver, int ordinal) {
  if (const Status status = driver.init(0); status != Status::kSuccess) {
    return unusable(driver, "the CUDA driver does not start", status);
  }
  int count = 0;
  if (const Status status = driver.device_get_count(&count); status != Status::kSuccess) {
    return unusable(driver, "counting the GPUs", status);
  }
  if (ordinal < 0 || ordinal >= count) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                fmt::format("there is no GPU {} among the {} that this process sees; "
                            "CUDA_VISIBLE_DEVICES names those it may see",
                            ordinal, count));
  }
  int device = 0;
  if (const Status status = driver.device_get(&device, ordinal); status != Status::kSuccess) {
    return unusable(driver, fmt::format("GPU {}", ordinal), status);
  }
  Context* context = nullptr;
  if (const Status status = driver.primary_context_retain(&context, device);
      status != Status::kSuccess) {
    return unusable(driver, fmt::format("a context on GPU {}", ordinal), status);
  }
  return std::shared_ptr<const Device>(new Device(driver, device, context));
}

Device::~Device() { (void)driver_.primary_context_release(device_); }

Result<void> Device::use_in_this_thread() const {
  return check(driver_, "taking the GPU's context", driver_.context_set_current(context_));
}

}  // namespace baton::kv::gpu
