#include "tests/unit/kv_transfer/nccl/fake_gpu.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace baton::kv {
namespace {

using CudaStatus = gpu::Status;
using NcclStatus = nccl::Status;

constexpr auto kRefused = static_cast<CudaStatus>(999);
constexpr int kPolls = 2;

thread_local bool has_context = false;

}  // namespace

FakeGpu* FakeGpu::current = nullptr;

FakeGpu::FakeGpu() { current = this; }
FakeGpu::~FakeGpu() { current = nullptr; }

void FakeGpu::fail(const std::string& call, int nth) {
  const std::lock_guard lock(mutex_);
  faults_[call] = {Verdict::kFail, nth};
}
void FakeGpu::hang(const std::string& call, int nth) {
  const std::lock_guard lock(mutex_);
  faults_[call] = {Verdict::kHang, nth};
}
void FakeGpu::lose_peer(int nth) {
  const std::lock_guard lock(mutex_);
  faults_["ncclCommGetAsyncError"] = {Verdict::kPeerLost, nth};
}
void FakeGpu::let_go() {
  const std::lock_guard lock(mutex_);
  let_go_ = true;
  released_.notify_all();
}

std::map<std::string, int> FakeGpu::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}
std::string FakeGpu::violations() const {
  const std::lock_guard lock(mutex_);
  return violations_;
}
int FakeGpu::communicators() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(comms_.size());
}
std::string FakeGpu::left() const {
  const std::lock_guard lock(mutex_);
  std::string left;
  const auto count = [&left](const char* what, std::size_t n) {
    if (n > 0) left += std::to_string(n) + " " + what + "; ";
  };
  count("contexts", static_cast<std::size_t>(contexts_));
  count("pieces of memory", memory_.size());
  count("streams", streams_.size());
  count("events", events_.size());
  count("communicators", comms_.size());
  return left;
}

FakeGpu::Verdict FakeGpu::enter(const char* call) {
  ++calls_[call];
  const auto fault = faults_.find(call);
  if (fault == faults_.end() || --fault->second.nth > 0) return Verdict::kPass;
  const Verdict verdict = fault->second.verdict;
  faults_.erase(fault);
  return verdict;
}

gpu::Status FakeGpu::begin(const char* call) {
  if (!has_context) violate(std::string(call) + " without a context");
  advance();
  return enter(call) == Verdict::kFail ? kRefused : CudaStatus::kSuccess;
}

void FakeGpu::violate(const std::string& what) { violations_ += what + "; "; }

bool FakeGpu::in_progress(const Communicator& comm) {
  return comm.hangs || comm.polls > 0 || !comm.met;
}

void FakeGpu::meet(const std::string& id) {
  int here = 0;
  int wanted = 0;
  for (const auto& [handle, comm] : comms_) {
    if (comm.id != id) continue;
    wanted = comm.ranks;
    if (!comm.hangs) ++here;
  }
  if (here < wanted) return;
  for (auto& [handle, comm] : comms_) {
    if (comm.id == id) comm.met = true;
  }
}

FakeGpu::Communicator* FakeGpu::find(nccl::Comm* comm, const char* call) {
  const auto found = comms_.find(comm);
  if (found != comms_.end()) return &found->second;
  violate(std::string(call) + " of no communicator");
  return nullptr;
}

std::deque<FakeGpu::Work>* FakeGpu::find(nccl::Stream* stream, const char* call) {
  const auto found = streams_.find(stream);
  if (found != streams_.end()) return &found->second;
  violate(std::string(call) + " on no stream");
  return nullptr;
}

bool FakeGpu::is_memory(const std::byte* from, std::size_t bytes) const {
  const auto begin = std::bit_cast<std::uintptr_t>(from);
  auto after = memory_.upper_bound(begin);
  if (after == memory_.begin()) return false;
  --after;
  return begin + bytes <= after->first + after->second.size();
}

void* FakeGpu::allocate(std::size_t bytes) {
  std::vector<std::byte> memory(bytes);
  void* begin = memory.data();
  memory_[std::bit_cast<std::uintptr_t>(begin)] = std::move(memory);
  return begin;
}

// Does all work whose turn has come; called before each answer, so that the GPU needs no thread.
void FakeGpu::advance() {
  const auto any = [this] {
    return std::ranges::any_of(streams_, [this](auto& stream) { return advance(stream.second); });
  };
  while (any()) {
  }
}

bool FakeGpu::advance(std::deque<Work>& stream) {
  if (stream.empty()) return false;
  const Work work = stream.front();
  switch (work.kind) {
    case Work::Kind::kReceive: return false;  // its sender delivers
    case Work::Kind::kSend: return deliver(stream);
    case Work::Kind::kEvent: events_[work.event].passed = !events_[work.event].hangs; break;
    case Work::Kind::kCopy:
      if (!is_memory(work.from, work.bytes) || !is_memory(work.to, work.bytes)) {
        violate("copying memory of nobody");
        break;
      }
      std::memcpy(work.to, work.from, work.bytes);
      break;
  }
  stream.pop_front();
  return true;
}

bool FakeGpu::deliver(std::deque<Work>& stream) {
  const Work sent = stream.front();
  const Communicator& sender = comms_.at(sent.comm);
  if (in_progress(sender)) return false;
  for (auto& [handle, other] : streams_) {
    if (other.empty() || other.front().kind != Work::Kind::kReceive) continue;
    const Work received = other.front();
    const Communicator& receiver = comms_.at(received.comm);
    if (receiver.id != sender.id || receiver.rank == sender.rank || in_progress(receiver)) continue;
    if (received.bytes != sent.bytes) violate("a send and a receive of unlike length");
    std::memcpy(received.to, sent.from, std::min(sent.bytes, received.bytes));
    stream.pop_front();
    other.pop_front();
    return true;
  }
  return false;
}

gpu::Status FakeGpu::put(const char* call, const Work& work, nccl::Stream* stream) {
  const CudaStatus status = begin(call);
  if (status != CudaStatus::kSuccess) return status;
  auto* queue = find(stream, call);
  if (queue == nullptr) return kRefused;
  for (const auto& [handle, comm] : comms_) {
    if (comm.busy == stream && in_progress(comm)) {
      violate(std::string(call) + " on a stream that NCCL is about to use");
    }
  }
  queue->push_back(work);
  return CudaStatus::kSuccess;
}

gpu::Status FakeGpu::free_memory(const char* call, std::uintptr_t memory) {
  const CudaStatus status = begin(call);
  const auto found = memory_.find(memory);
  if (found == memory_.end()) {
    violate(std::string(call) + " of memory of nobody");
    return kRefused;
  }
  const auto* begin = found->second.data();
  for (const auto& [handle, stream] : streams_) {
    for (const Work& work : stream) {
      if (work.to == begin || work.from == begin) violate("memory freed while a stream uses it");
    }
  }
  memory_.erase(found);
  return status;
}

nccl::Status FakeGpu::post(const char* call, Work work, nccl::Comm* comm, nccl::Stream* stream) {
  if (!has_context) violate(std::string(call) + " without a context");
  advance();
  const Verdict verdict = enter(call);
  Communicator* rank = find(comm, call);
  auto* queue = find(stream, call);
  if (rank == nullptr || queue == nullptr) return NcclStatus::kInvalidArgument;
  if (in_progress(*rank)) violate(std::string(call) + " while another call is in progress");
  if (rank->thread != std::this_thread::get_id()) violate(std::string(call) + " on another thread");
  if (verdict == Verdict::kFail) return NcclStatus::kInternalError;
  work.comm = comm;
  queue->push_back(work);
  rank->busy = stream;
  rank->polls = kPolls;
  rank->hangs = verdict == Verdict::kHang;
  return NcclStatus::kInProgress;
}

// The C functions of the tables.
struct FakeCalls {
  static FakeGpu& gpu() { return *FakeGpu::current; }
  using Work = FakeGpu::Work;
  using Verdict = FakeGpu::Verdict;

  static NcclStatus get_version(int* version) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("ncclGetVersion") == Verdict::kFail) return NcclStatus::kInternalError;
    *version = gpu().version;
    return NcclStatus::kSuccess;
  }
  static NcclStatus get_unique_id(nccl::UniqueId* id) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("ncclGetUniqueId") == Verdict::kFail) return NcclStatus::kSystemError;
    const auto text = "id " + std::to_string(++gpu().last_handle_);
    std::ranges::copy(text, id->bytes);
    return NcclStatus::kSuccess;
  }
  static NcclStatus init(nccl::Comm** comm, int ranks, nccl::UniqueId id, int rank,
                         nccl::Config* config) {
    const std::lock_guard lock(gpu().mutex_);
    if (!has_context) gpu().violate("a communicator without a context");
    if (config->blocking != 0) gpu().violate("a communicator that blocks");
    const Verdict verdict = gpu().enter("ncclCommInitRankConfig");
    if (verdict == Verdict::kFail) return NcclStatus::kSystemError;
    *comm = gpu().draw<nccl::Comm>();
    gpu().comms_[*comm] = {.id = std::string(id.bytes, sizeof(id.bytes)),
                           .rank = rank,
                           .ranks = ranks,
                           .hangs = verdict == Verdict::kHang,
                           .polls = kPolls,
                           .thread = std::this_thread::get_id()};
    gpu().meet(gpu().comms_[*comm].id);
    return NcclStatus::kInProgress;
  }
  static NcclStatus get_async_error(nccl::Comm* comm, NcclStatus* error) {
    const std::lock_guard lock(gpu().mutex_);
    const Verdict verdict = gpu().enter("ncclCommGetAsyncError");
    if (verdict == Verdict::kFail) return NcclStatus::kInternalError;
    auto* rank = gpu().find(comm, "ncclCommGetAsyncError");
    if (rank == nullptr) return NcclStatus::kInvalidArgument;
    if (verdict == Verdict::kPeerLost) rank->found = NcclStatus::kRemoteError;
    if (rank->polls > 0) --rank->polls;
    const bool busy = gpu().in_progress(*rank);
    *error = rank->found != NcclStatus::kSuccess ? rank->found
             : busy                              ? NcclStatus::kInProgress
                                                 : NcclStatus::kSuccess;
    return NcclStatus::kSuccess;
  }
  static NcclStatus send(const void* from, std::size_t count, int, int peer, nccl::Comm* comm,
                         nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    const auto* bytes = static_cast<const std::byte*>(from);
    if (peer != 1 || !gpu().is_memory(bytes, count)) gpu().violate("sending what is not there");
    return gpu().post("ncclSend", {.kind = Work::Kind::kSend, .from = bytes, .bytes = count}, comm,
                      stream);
  }
  static NcclStatus recv(void* into, std::size_t count, int, int peer, nccl::Comm* comm,
                         nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    auto* bytes = static_cast<std::byte*>(into);
    if (peer != 0 || !gpu().is_memory(bytes, count)) gpu().violate("receiving into nowhere");
    return gpu().post("ncclRecv", {.kind = Work::Kind::kReceive, .to = bytes, .bytes = count}, comm,
                      stream);
  }
  static NcclStatus abort(nccl::Comm* comm) {
    std::unique_lock lock(gpu().mutex_);
    if (!has_context) gpu().violate("an abort without a context");
    const Verdict verdict = gpu().enter("ncclCommAbort");
    if (verdict == Verdict::kHang) gpu().released_.wait(lock, [] { return gpu().let_go_; });
    if (gpu().find(comm, "ncclCommAbort") == nullptr) return NcclStatus::kInvalidArgument;
    for (auto& [handle, stream] : gpu().streams_) {
      std::erase_if(stream, [comm](const Work& work) { return work.comm == comm; });
    }
    gpu().comms_.erase(comm);
    return verdict == Verdict::kFail ? NcclStatus::kInternalError : NcclStatus::kSuccess;
  }
  static const char* nccl_text(NcclStatus status) {
    return status == NcclStatus::kRemoteError ? "remote process exited" : "played error";
  }

  static CudaStatus start(unsigned) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().enter("cuInit") == Verdict::kFail ? kRefused : CudaStatus::kSuccess;
  }
  static CudaStatus count(int* count) {
    const std::lock_guard lock(gpu().mutex_);
    *count = gpu().gpus;
    return gpu().enter("cuDeviceGetCount") == Verdict::kFail ? kRefused : CudaStatus::kSuccess;
  }
  static CudaStatus device(int* device, int ordinal) {
    const std::lock_guard lock(gpu().mutex_);
    *device = ordinal;
    return gpu().enter("cuDeviceGet") == Verdict::kFail ? kRefused : CudaStatus::kSuccess;
  }
  static CudaStatus retain(gpu::Context** context, int) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("cuDevicePrimaryCtxRetain") == Verdict::kFail) return kRefused;
    *context = gpu().draw<gpu::Context>();
    ++gpu().contexts_;
    return CudaStatus::kSuccess;
  }
  static CudaStatus release(int) {
    const std::lock_guard lock(gpu().mutex_);
    --gpu().contexts_;
    return gpu().enter("cuDevicePrimaryCtxRelease_v2") == Verdict::kFail ? kRefused
                                                                         : CudaStatus::kSuccess;
  }
  static CudaStatus use(gpu::Context* context) {
    const std::lock_guard lock(gpu().mutex_);
    if (gpu().enter("cuCtxSetCurrent") == Verdict::kFail) return kRefused;
    has_context = context != nullptr;
    return CudaStatus::kSuccess;
  }
  static CudaStatus mem_alloc(gpu::DevicePointer* memory, std::size_t bytes) {
    const std::lock_guard lock(gpu().mutex_);
    const CudaStatus status = gpu().begin("cuMemAlloc_v2");
    if (status == CudaStatus::kSuccess) {
      *memory = std::bit_cast<gpu::DevicePointer>(gpu().allocate(bytes));
    }
    return status;
  }
  static CudaStatus mem_free(gpu::DevicePointer memory) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().free_memory("cuMemFree_v2", memory);
  }
  static CudaStatus mem_alloc_host(void** memory, std::size_t bytes) {
    const std::lock_guard lock(gpu().mutex_);
    const CudaStatus status = gpu().begin("cuMemAllocHost_v2");
    if (status == CudaStatus::kSuccess) *memory = gpu().allocate(bytes);
    return status;
  }
  static CudaStatus mem_free_host(void* memory) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().free_memory("cuMemFreeHost", std::bit_cast<std::uintptr_t>(memory));
  }
  static CudaStatus stream_create(nccl::Stream** stream, unsigned flags) {
    const std::lock_guard lock(gpu().mutex_);
    if (flags != gpu::kStreamNonBlocking) gpu().violate("a stream that waits for others");
    const CudaStatus status = gpu().begin("cuStreamCreate");
    if (status == CudaStatus::kSuccess) {
      *stream = gpu().draw<nccl::Stream>();
      gpu().streams_[*stream];
    }
    return status;
  }
  static CudaStatus stream_destroy(nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    const CudaStatus status = gpu().begin("cuStreamDestroy_v2");
    if (gpu().find(stream, "cuStreamDestroy") != nullptr) gpu().streams_.erase(stream);
    return status;
  }
  static CudaStatus stream_query(nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    const CudaStatus status = gpu().begin("cuStreamQuery");
    const auto* queue = gpu().find(stream, "cuStreamQuery");
    if (status != CudaStatus::kSuccess || queue == nullptr) return kRefused;
    return queue->empty() ? CudaStatus::kSuccess : CudaStatus::kNotReady;
  }
  static CudaStatus to_device(gpu::DevicePointer to, const void* from, std::size_t bytes,
                              nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().put("cuMemcpyHtoDAsync_v2",
                     {.to = std::bit_cast<std::byte*>(to),
                      .from = static_cast<const std::byte*>(from),
                      .bytes = bytes},
                     stream);
  }
  static CudaStatus to_host(void* to, gpu::DevicePointer from, std::size_t bytes,
                            nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    return gpu().put("cuMemcpyDtoHAsync_v2",
                     {.to = static_cast<std::byte*>(to),
                      .from = std::bit_cast<const std::byte*>(from),
                      .bytes = bytes},
                     stream);
  }
  static CudaStatus event_create(gpu::Event** event, unsigned) {
    const std::lock_guard lock(gpu().mutex_);
    const CudaStatus status = gpu().begin("cuEventCreate");
    if (status == CudaStatus::kSuccess) {
      *event = gpu().draw<gpu::Event>();
      gpu().events_[*event];
    }
    return status;
  }
  static CudaStatus event_destroy(gpu::Event* event) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().events_.erase(event);
    return gpu().begin("cuEventDestroy_v2");
  }
  static CudaStatus event_record(gpu::Event* event, nccl::Stream* stream) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().events_[event].passed = false;
    return gpu().put("cuEventRecord", {.kind = Work::Kind::kEvent, .event = event}, stream);
  }
  static CudaStatus event_query(gpu::Event* event) {
    const std::lock_guard lock(gpu().mutex_);
    gpu().advance();
    const Verdict verdict = gpu().enter("cuEventQuery");
    if (verdict == Verdict::kFail) return kRefused;
    FakeGpu::Event& asked = gpu().events_[event];
    if (verdict == Verdict::kHang) asked.hangs = true;
    return asked.passed && !asked.hangs ? CudaStatus::kSuccess : CudaStatus::kNotReady;
  }
  static CudaStatus text(CudaStatus, const char** text) {
    *text = "played CUDA error";
    return CudaStatus::kSuccess;
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

gpu::Driver FakeGpu::cuda() {
  return {.init = FakeCalls::start,
          .device_get_count = FakeCalls::count,
          .device_get = FakeCalls::device,
          .primary_context_retain = FakeCalls::retain,
          .primary_context_release = FakeCalls::release,
          .context_set_current = FakeCalls::use,
          .mem_alloc = FakeCalls::mem_alloc,
          .mem_free = FakeCalls::mem_free,
          .mem_alloc_host = FakeCalls::mem_alloc_host,
          .mem_free_host = FakeCalls::mem_free_host,
          .stream_create = FakeCalls::stream_create,
          .stream_destroy = FakeCalls::stream_destroy,
          .stream_query = FakeCalls::stream_query,
          .copy_to_device = FakeCalls::to_device,
          .copy_to_host = FakeCalls::to_host,
          .event_create = FakeCalls::event_create,
          .event_destroy = FakeCalls::event_destroy,
          .event_record = FakeCalls::event_record,
          .event_query = FakeCalls::event_query,
          .get_error_string = FakeCalls::text};
}

}  // namespace baton::kv
