// The two tables of FakeGpu, and the C functions in them.
#include <algorithm>
#include <bit>
#include <string>

#include "tests/unit/kv_transfer/nccl/fake_gpu.h"

namespace baton::kv {

struct FakeCalls {
  static FakeGpu& gpu() { return *FakeGpu::current; }
  using Work = FakeGpu::Work;
  using Verdict = FakeGpu::Verdict;

  static nccl::Status get_version(int* version) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("ncclGetVersion") == Verdict::kFail) return nccl::Status::kInternalError;
    *version = gpu().version;
    return nccl::Status::kSuccess;
  }
  static nccl::Status get_unique_id(nccl::UniqueId* id) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("ncclGetUniqueId") == Verdict::kFail) return nccl::Status::kSystemError;
    const auto text = "id " + std::to_string(++gpu().last_handle_);
    std::ranges::copy(text, id->bytes);
    return nccl::Status::kSuccess;
  }
  static nccl::Status init(nccl::Comm** comm, int ranks, nccl::UniqueId id, int rank,
                           nccl::Config* config) {
    const std::lock_guard lock(gpu().mutex_);
    if (!FakeGpu::has_context) gpu().violate("a communicator without a context");
    if (config->blocking != 0) gpu().violate("a communicator that blocks");
    const Verdict verdict = gpu().enter("ncclCommInitRankConfig");
    if (verdict == Verdict::kFail) return nccl::Status::kSystemError;
    *comm = gpu().draw<nccl::Comm*>();
    gpu().comms_[*comm] = {.id = std::string(id.bytes, sizeof(id.bytes)),
                           .rank = rank,
                           .ranks = ranks,
                           .hangs = verdict == Verdict::kHang,
                           .polls = FakeGpu::kPolls,
                           .thread = std::this_thread::get_id()};
    gpu().meet(gpu().comms_[*comm].id);
    return nccl::Status::kInProgress;
  }
  static nccl::Status get_async_error(nccl::Comm* comm, nccl::Status* error) {
    const std::lock_guard lock(gpu().mutex_);
    const Verdict verdict = gpu().enter("ncclCommGetAsyncError");
    if (verdict == Verdict::kFail) return nccl::Status::kInternalError;
    auto* rank = gpu().find(comm, "ncclCommGetAsyncError");
    if (rank == nullptr) return nccl::Status::kInvalidArgument;
    if (verdict == Verdict::kPeerLost) rank->found = nccl::Status::kRemoteError;
    if (rank->polls > 0) --rank->polls;
    const bool busy = gpu().in_progress(*rank);
    *error = rank->found != nccl::Status::kSuccess ? rank->found
             : busy                                ? nccl::Status::kInProgress
                                                   : nccl::Status::kSuccess;
    return nccl::Status::kSuccess;
  }
  static nccl::Status send(const void* from, std::size_t count, int, int peer, nccl::Comm* comm,
                           cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    const auto* bytes = static_cast<const std::byte*>(from);
    if (peer != 1 || !gpu().is_memory(bytes, count)) gpu().violate("sending what is not there");
    return gpu().post("ncclSend", {.kind = Work::Kind::kSend, .from = bytes, .bytes = count}, comm,
                      stream);
  }
  static nccl::Status recv(void* into, std::size_t count, int, int peer, nccl::Comm* comm,
                           cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    auto* bytes = static_cast<std::byte*>(into);
    if (peer != 0 || !gpu().is_memory(bytes, count)) gpu().violate("receiving into nowhere");
    return gpu().post("ncclRecv", {.kind = Work::Kind::kReceive, .to = bytes, .bytes = count}, comm,
                      stream);
  }
  static nccl::Status abort(nccl::Comm* comm) {
    std::unique_lock lock(gpu().mutex_);
    if (!FakeGpu::has_context) gpu().violate("an abort without a context");
    const Verdict verdict = gpu().enter("ncclCommAbort");
    if (verdict == Verdict::kHang) gpu().released_.wait(lock, [] { return gpu().let_go_; });
    if (gpu().find(comm, "ncclCommAbort") == nullptr) return nccl::Status::kInvalidArgument;
    for (auto& [handle, stream] : gpu().streams_) {
      std::erase_if(stream, [comm](const Work& work) { return work.comm == comm; });
    }
    gpu().comms_.erase(comm);
    return verdict == Verdict::kFail ? nccl::Status::kInternalError : nccl::Status::kSuccess;
  }
  static const char* nccl_text(nccl::Status status) {
    return status == nccl::Status::kRemoteError ? "remote process exited" : "played error";
  }

  static cuda::Status start(unsigned) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().enter("cuInit") == Verdict::kFail ? FakeGpu::kRefused : cuda::kSuccess;
  }
  static cuda::Status count(int* count) {
    const std::lock_guard lock(gpu().mutex_);
    *count = gpu().gpus;
    return gpu().enter("cuDeviceGetCount") == Verdict::kFail ? FakeGpu::kRefused : cuda::kSuccess;
  }
  static cuda::Status device(int* device, int ordinal) {
    const std::lock_guard lock(gpu().mutex_);
    *device = ordinal;
    return gpu().enter("cuDeviceGet") == Verdict::kFail ? FakeGpu::kRefused : cuda::kSuccess;
  }
  static cuda::Status retain(cuda::Context* context, int) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("cuDevicePrimaryCtxRetain") == Verdict::kFail) return FakeGpu::kRefused;
    *context = gpu().draw<cuda::Context>();
    ++gpu().contexts_;
    return cuda::kSuccess;
  }
  static cuda::Status release(int) {
    const std::lock_guard lock(gpu().mutex_);
    --gpu().contexts_;
    return gpu().enter("cuDevicePrimaryCtxRelease_v2") == Verdict::kFail ? FakeGpu::kRefused
                                                                         : cuda::kSuccess;
  }
  static cuda::Status use(cuda::Context context) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("cuCtxSetCurrent") == Verdict::kFail) return FakeGpu::kRefused;
    FakeGpu::has_context = context != nullptr;
    return cuda::kSuccess;
  }
  static cuda::Status mem_alloc(cuda::DeviceAddress* memory, std::size_t bytes) {
    const std::lock_guard lock(gpu().mutex_);
    const cuda::Status status = gpu().begin("cuMemAlloc_v2");
    if (status == cuda::kSuccess) {
      *memory = std::bit_cast<cuda::DeviceAddress>(gpu().allocate(bytes));
    }
    return status;
  }
  static cuda::Status mem_free(cuda::DeviceAddress memory) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().free_memory("cuMemFree_v2", memory);
  }
  static cuda::Status mem_alloc_host(void** memory, std::size_t bytes) {
    const std::lock_guard lock(gpu().mutex_);
    const cuda::Status status = gpu().begin("cuMemAllocHost_v2");
    if (status == cuda::kSuccess) *memory = gpu().allocate(bytes);
    return status;
  }
  static cuda::Status mem_free_host(void* memory) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().free_memory("cuMemFreeHost", std::bit_cast<std::uintptr_t>(memory));
  }
  static cuda::Status stream_create(cuda::Stream* stream, unsigned flags) {
    const std::lock_guard lock(gpu().mutex_);
    if (flags != cuda::kStreamNonBlocking) gpu().violate("a stream that waits for others");
    const cuda::Status status = gpu().begin("cuStreamCreate");
    if (status == cuda::kSuccess) {
      *stream = gpu().draw<cuda::Stream>();
      gpu().streams_[*stream];
    }
    return status;
  }
  static cuda::Status stream_destroy(cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    const cuda::Status status = gpu().begin("cuStreamDestroy_v2");
    if (gpu().find(stream, "cuStreamDestroy") != nullptr) gpu().streams_.erase(stream);
    return status;
  }
  static cuda::Status stream_query(cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    const cuda::Status status = gpu().begin("cuStreamQuery");
    const auto* queue = gpu().find(stream, "cuStreamQuery");
    if (status != cuda::kSuccess || queue == nullptr) return FakeGpu::kRefused;
    return queue->empty() ? cuda::kSuccess : cuda::kNotReady;
  }
  static cuda::Status to_device(cuda::DeviceAddress to, const void* from, std::size_t bytes,
                                cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().put("cuMemcpyHtoDAsync_v2",
                     {.to = std::bit_cast<std::byte*>(to),
                      .from = static_cast<const std::byte*>(from),
                      .bytes = bytes},
                     stream);
  }
  static cuda::Status to_host(void* to, cuda::DeviceAddress from, std::size_t bytes,
                              cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().put("cuMemcpyDtoHAsync_v2",
                     {.to = static_cast<std::byte*>(to),
                      .from = std::bit_cast<const std::byte*>(from),
                      .bytes = bytes},
                     stream);
  }
  static cuda::Status event_create(cuda::Event* event, unsigned) {
    const std::lock_guard lock(gpu().mutex_);
    const cuda::Status status = gpu().begin("cuEventCreate");
    if (status == cuda::kSuccess) {
      *event = gpu().draw<cuda::Event>();
      gpu().events_[*event];
    }
    return status;
  }
  static cuda::Status event_destroy(cuda::Event event) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().events_.erase(event);
    return gpu().begin("cuEventDestroy_v2");
  }
  static cuda::Status event_record(cuda::Event event, cuda::Stream stream) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().events_[event].passed = false;
    return gpu().put("cuEventRecord", {.kind = Work::Kind::kEvent, .event = event}, stream);
  }
  static cuda::Status event_query(cuda::Event event) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().advance();
    const Verdict verdict = gpu().enter("cuEventQuery");
    if (verdict == Verdict::kFail) return FakeGpu::kRefused;
    FakeGpu::Event& asked = gpu().events_[event];
    if (verdict == Verdict::kHang) asked.hangs = true;
    return asked.passed && !asked.hangs ? cuda::kSuccess : cuda::kNotReady;
  }
  static cuda::Status text(cuda::Status, const char** text) {
    *text = "played CUDA error";
    return cuda::kSuccess;
  }
};

nccl::Library FakeGpu::nccl() {
  return {.get_version = FakeCalls::get_version,
          .get_unique_id = FakeCalls::get_unique_id,
          .comm_init_rank_config = FakeCalls::init,
          .comm_get_async_error = FakeCalls::get_async_error,
          .send = FakeCalls::send,
          .recv = FakeCalls::recv,
          .comm_abort = FakeCalls::abort,
          .get_error_string = FakeCalls::nccl_text};
}

cuda::DriverTable FakeGpu::cuda() {
  cuda::DriverTable table;  // of the functions that the transport calls
  table.init = FakeCalls::start;
  table.get_error_name = FakeCalls::text;
  table.get_error_text = FakeCalls::text;
  table.count_devices = FakeCalls::count;
  table.get_device = FakeCalls::device;
  table.retain_context = FakeCalls::retain;
  table.release_context = FakeCalls::release;
  table.set_context = FakeCalls::use;
  table.create_stream = FakeCalls::stream_create;
  table.destroy_stream = FakeCalls::stream_destroy;
  table.query_stream = FakeCalls::stream_query;
  table.create_event = FakeCalls::event_create;
  table.destroy_event = FakeCalls::event_destroy;
  table.record_event = FakeCalls::event_record;
  table.query_event = FakeCalls::event_query;
  table.allocate = FakeCalls::mem_alloc;
  table.release = FakeCalls::mem_free;
  table.allocate_pinned = FakeCalls::mem_alloc_host;
  table.release_pinned = FakeCalls::mem_free_host;
  table.upload = FakeCalls::to_device;
  table.download = FakeCalls::to_host;
  return table;
}

}  // namespace baton::kv
