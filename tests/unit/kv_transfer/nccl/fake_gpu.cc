#include "tests/unit/kv_transfer/nccl/fake_gpu.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace baton::kv {

FakeGpu* FakeGpu::current = nullptr;
thread_local bool FakeGpu::has_context = false;

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

cuda::Status FakeGpu::begin(const char* call) {
  if (!has_context) violate(std::string(call) + " without a context");
  advance();
  return enter(call) == Verdict::kFail ? kRefused : cuda::kSuccess;
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

std::deque<FakeGpu::Work>* FakeGpu::find(cuda::Stream stream, const char* call) {
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

cuda::Status FakeGpu::put(const char* call, const Work& work, cuda::Stream stream) {
  const cuda::Status status = begin(call);
  if (status != cuda::kSuccess) return status;
  auto* queue = find(stream, call);
  if (queue == nullptr) return kRefused;
  for (const auto& [handle, comm] : comms_) {
    if (comm.busy == stream && in_progress(comm)) {
      violate(std::string(call) + " on a stream that NCCL is about to use");
    }
  }
  queue->push_back(work);
  return cuda::kSuccess;
}

cuda::Status FakeGpu::free_memory(const char* call, std::uintptr_t memory) {
  const cuda::Status status = begin(call);
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

nccl::Status FakeGpu::post(const char* call, Work work, nccl::Comm* comm, cuda::Stream stream) {
  if (!has_context) violate(std::string(call) + " without a context");
  advance();
  const Verdict verdict = enter(call);
  Communicator* rank = find(comm, call);
  auto* queue = find(stream, call);
  if (rank == nullptr || queue == nullptr) return nccl::Status::kInvalidArgument;
  if (in_progress(*rank)) violate(std::string(call) + " while another call is in progress");
  if (rank->thread != std::this_thread::get_id()) violate(std::string(call) + " on another thread");
  if (verdict == Verdict::kFail) return nccl::Status::kInternalError;
  work.comm = comm;
  queue->push_back(work);
  rank->busy = stream;
  rank->polls = kPolls;
  rank->hangs = verdict == Verdict::kHang;
  return nccl::Status::kInProgress;
}

}  // namespace baton::kv
