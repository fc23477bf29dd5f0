#pragma once

#include <memory>

#include "core/error.h"
#include "kv_transfer/cuda/driver.h"

namespace baton::kv::cuda {

// One GPU's primary context, which the engine on that GPU uses too; held until this goes.
// Thread-safe.
class PrimaryContext {
 public:
  // `ordinal` counts the GPUs that CUDA_VISIBLE_DEVICES leaves. Errors: kUnsupported (no GPU),
  // kInvalidArgument (none of that number), kUnavailable (the driver's).
  [[nodiscard]] static Result<std::shared_ptr<const PrimaryContext>> open(const DriverTable& driver,
                                                                          int ordinal);
  ~PrimaryContext();
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;

  [[nodiscard]] const DriverTable& driver() const { return driver_; }
  [[nodiscard]] Device device() const { return device_; }
  [[nodiscard]] Context handle() const { return context_; }
  // For a thread of our own: until it has said so, its calls of the driver and of NCCL go to no
  // GPU. A thread that belongs to somebody else pushes and pops handle() instead.
  [[nodiscard]] Result<void> use_in_this_thread() const;

 private:
  PrimaryContext(const DriverTable& driver, Device device, Context context)
      : driver_(driver), device_(device), context_(context) {}

  const DriverTable driver_;
  const Device device_;
  const Context context_;
};

}  // namespace baton::kv::cuda
