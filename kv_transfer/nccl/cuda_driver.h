#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"
#include "kv_transfer/nccl/nccl_library.h"

// What we use of the CUDA driver's interface, opened at run time as NCCL is.
namespace baton::kv::gpu {

struct Context;  // opaque
struct Event;    // opaque
using nccl::Stream;
using DevicePointer = std::uint64_t;

enum class Status : int { kSuccess = 0, kNotReady = 600 };

inline constexpr unsigned kStreamNonBlocking = 1;  // does not wait for the default stream
inline constexpr unsigned kEventDisableTiming = 2;

// The driver's functions, as the library has them or as a test plays them.
struct Driver {
  Status (*init)(unsigned flags) = nullptr;
  Status (*device_get_count)(int* count) = nullptr;
  Status (*device_get)(int* device, int ordinal) = nullptr;
  Status (*primary_context_retain)(Context** context, int device) = nullptr;
  Status (*primary_context_release)(int device) = nullptr;
  Status (*context_set_current)(Context* context) = nullptr;
  Status (*mem_alloc)(DevicePointer* memory, std::size_t bytes) = nullptr;
  Status (*mem_free)(DevicePointer memory) = nullptr;
  Status (*mem_alloc_host)(void** memory, std::size_t bytes) = nullptr;
  Status (*mem_free_host)(void* memory) = nullptr;
  Status (*stream_create)(Stream** stream, unsigned flags) = nullptr;
  Status (*stream_destroy)(Stream* stream) = nullptr;
  Status (*stream_query)(Stream* stream) = nullptr;
  Status (*copy_to_device)(DevicePointer to, const void* from, std::size_t bytes,
                           Stream* stream) = nullptr;
  Status (*copy_to_host)(void* to, DevicePointer from, std::size_t bytes, Stream* stream) = nullptr;
  Status (*event_create)(Event** event, unsigned flags) = nullptr;
  Status (*event_destroy)(Event* event) = nullptr;
  Status (*event_record)(Event* event, Stream* stream) = nullptr;
  Status (*event_query)(Event* event) = nullptr;
  Status (*get_error_string)(Status status, const char** text) = nullptr;
};

// Errors: kUnsupported, saying what is missing and how to mend it.
[[nodiscard]] Result<Driver> open_driver(const std::string& file = "libcuda.so.1");

// Errors: kUnavailable, unless `status` is success.
[[nodiscard]] Result<void> check(const Driver& driver, std::string_view what, Status status);

// One device's primary context, which the engine on that device uses too. Thread-safe.
class Device {
 public:
  // Errors: kUnsupported (no such device, or it cannot be used).
  [[nodiscard]] static Result<std::shared_ptr<const Device>> open(const Driver& driver,
                                                                  int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] const Driver& driver() const { return driver_; }
  // Until a thread has said so, its calls of the driver and of NCCL go to no device.
  [[nodiscard]] Result<void> use_in_this_thread() const;

 private:
  Device(const Driver& driver, int device, Context* context)
      : driver_(driver), device_(device), context_(context) {}

  const Driver driver_;
  const int device_;
  Context* const context_;
};

}  // namespace baton::kv::gpu
