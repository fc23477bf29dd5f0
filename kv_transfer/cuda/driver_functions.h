#pragma once

// The functions of NVIDIA's driver that Baton calls, declared here so that it builds without CUDA's
// headers and starts without libcuda. driver_functions_check.cu holds them against cuda.h.

#include <cstddef>

struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;

namespace baton::kv::cuda {

using Status = int;  // CUresult
using Device = int;
using Context = CUctx_st*;
using Module = CUmod_st*;
using Function = CUfunc_st*;
using Stream = CUstream_st*;
using Event = CUevent_st*;
using DeviceAddress = unsigned long long;

constexpr Status kSuccess = 0;
constexpr Status kNoDevice = 100;
constexpr Status kNotReady = 600;
constexpr int kMultiprocessors = 16;  // attributes of a device
constexpr int kCapabilityMajor = 75;
constexpr int kCapabilityMinor = 76;
constexpr unsigned kStreamNonBlocking = 1;  // it does not wait for the default stream
constexpr unsigned kEventDisableTiming = 2;

// F(member of DriverTable, symbol of libcuda, parameters). The symbols with a version are what
// cuda.h makes of the names without one.
#define BATON_CUDA_DRIVER_FUNCTIONS(F)                                                         \
  F(init, cuInit, (unsigned flags))                                                            \
  F(get_version, cuDriverGetVersion, (int* version))                                           \
  F(get_error_name, cuGetErrorName, (Status status, const char** name))                        \
  F(get_error_text, cuGetErrorString, (Status status, const char** text))                      \
  F(count_devices, cuDeviceGetCount, (int* count))                                             \
  F(get_device, cuDeviceGet, (Device * device, int ordinal))                                   \
  F(get_device_name, cuDeviceGetName, (char* name, int size, Device device))                   \
  F(get_attribute, cuDeviceGetAttribute, (int* value, int attribute, Device device))           \
  F(retain_context, cuDevicePrimaryCtxRetain, (Context * context, Device device))              \
  F(release_context, cuDevicePrimaryCtxRelease_v2, (Device device))                            \
  F(push_context, cuCtxPushCurrent_v2, (Context context))                                      \
  F(pop_context, cuCtxPopCurrent_v2, (Context * context))                                      \
  F(set_context, cuCtxSetCurrent, (Context context))                                           \
  F(load_module, cuModuleLoadData, (Module * module, const void* image))                       \
  F(unload_module, cuModuleUnload, (Module module))                                            \
  F(get_function, cuModuleGetFunction, (Function * function, Module module, const char* name)) \
  F(create_stream, cuStreamCreate, (Stream * stream, unsigned flags))                          \
  F(destroy_stream, cuStreamDestroy_v2, (Stream stream))                                       \
  F(synchronize_stream, cuStreamSynchronize, (Stream stream))                                  \
  F(query_stream, cuStreamQuery, (Stream stream))                                              \
  F(stream_wait_event, cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))        \
  F(create_event, cuEventCreate, (Event * event, unsigned flags))                              \
  F(destroy_event, cuEventDestroy_v2, (Event event))                                           \
  F(record_event, cuEventRecord, (Event event, Stream stream))                                 \
  F(query_event, cuEventQuery, (Event event))                                                  \
  F(synchronize_event, cuEventSynchronize, (Event event))                                      \
  F(allocate, cuMemAlloc_v2, (DeviceAddress * address, std::size_t bytes))                     \
  F(release, cuMemFree_v2, (DeviceAddress address))                                            \
  F(allocate_pinned, cuMemAllocHost_v2, (void** memory, std::size_t bytes))                    \
  F(release_pinned, cuMemFreeHost, (void* memory))                                             \
  F(upload, cuMemcpyHtoDAsync_v2,                                                              \
    (DeviceAddress target, const void* source, std::size_t bytes, Stream stream))              \
  F(download, cuMemcpyDtoHAsync_v2,                                                            \
    (void* target, DeviceAddress source, std::size_t bytes, Stream stream))                    \
  F(launch, cuLaunchKernel,                                                                    \
    (Function function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z,               \
     unsigned threads_x, unsigned threads_y, unsigned threads_z, unsigned shared_bytes,        \
     Stream stream, void** arguments, void** extra))

// The table, filled by load_driver() (driver.h) or by a test.
struct DriverTable {
  // NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration takes none
#define BATON_DECLARE_FUNCTION(member, symbol, parameters) Status(*member) parameters = nullptr;
  BATON_CUDA_DRIVER_FUNCTIONS(BATON_DECLARE_FUNCTION)
#undef BATON_DECLARE_FUNCTION
};

}  // namespace baton::kv::cuda
