#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kv_transfer/cuda/driver_functions.h"
#include "kv_transfer/nccl/nccl_library.h"

namespace baton::kv {

// A GPU with an NCCL, played: the two function tables, behind which all ranks of this process move
// real bytes. It is as strict as the real ones are said to be and notes each use that they do not
// allow: calls while another is in progress, memory freed while the stream uses it, threads without
// a context. Faults are asked for by the C name of a call and its count from now on. One at a time.
class FakeGpu {
 public:
  FakeGpu();
  ~FakeGpu();
  FakeGpu(const FakeGpu&) = delete;
  FakeGpu& operator=(const FakeGpu&) = delete;

  [[nodiscard]] static nccl::Library nccl();
  [[nodiscard]] static cuda::DriverTable cuda();

  int version = 23203;
  int gpus = 1;

  // The nth call is refused.
  void fail(const std::string& call, int nth = 1);
  // The nth call never ends: joining, sending and receiving stay in progress, an event does not
  // pass, and ncclCommAbort does not return before let_go().
  void hang(const std::string& call, int nth = 1);
  void let_go();
  // NCCL finds that the other rank is lost; at the nth time that somebody asks.
  void lose_peer(int nth = 1);

  [[nodiscard]] std::map<std::string, int> calls() const;
  [[nodiscard]] std::string violations() const;
  // What was made and not given back, as text; empty: nothing.
  [[nodiscard]] std::string left() const;
  [[nodiscard]] int communicators() const;

 private:
  friend struct FakeCalls;
  enum class Verdict { kPass, kFail, kHang, kPeerLost };
  struct Communicator {
    std::string id;
    int rank = 0;
    int ranks = 0;
    bool met = false;  // every rank has joined
    bool hangs = false;
    int polls = 0;  // after which what is in progress is done
    nccl::Status found = nccl::Status::kSuccess;
    std::thread::id thread;
    cuda::Stream busy = nullptr;  // the stream of the call in progress
  };
  struct Work {
    enum class Kind { kCopy, kSend, kReceive, kEvent } kind = Kind::kCopy;
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    std::size_t bytes = 0;
    nccl::Comm* comm = nullptr;
    cuda::Event event = nullptr;
  };
  struct Event {
    bool passed = true;
    bool hangs = false;
  };
  struct Fault {
    Verdict verdict = Verdict::kPass;
    int nth = 0;
  };

  [[nodiscard]] Verdict enter(const char* call);
  [[nodiscard]] cuda::Status begin(const char* call);  // of a driver's call that needs a context
  void violate(const std::string& what);
  void advance();
  [[nodiscard]] bool advance(std::deque<Work>& stream);
  [[nodiscard]] bool deliver(std::deque<Work>& stream);
  [[nodiscard]] static bool in_progress(const Communicator& comm);
  void meet(const std::string& id);
  [[nodiscard]] Communicator* find(nccl::Comm* comm, const char* call);
  [[nodiscard]] std::deque<Work>* find(cuda::Stream stream, const char* call);
  [[nodiscard]] bool is_memory(const std::byte* from, std::size_t bytes) const;
  nccl::Status post(const char* call, Work work, nccl::Comm* comm, cuda::Stream stream);
  cuda::Status put(const char* call, const Work& work, cuda::Stream stream);
  cuda::Status free_memory(const char* call, std::uintptr_t memory);
  void* allocate(std::size_t bytes);
  template <class Handle>
  Handle draw() {
    return reinterpret_cast<Handle>(++last_handle_ * 64);
  }

  static constexpr cuda::Status kRefused = 999;
  static constexpr int kPolls = 2;
  static FakeGpu* current;
  static thread_local bool has_context;

  mutable std::mutex mutex_;
  std::condition_variable released_;
  bool let_go_ = false;
  std::map<std::string, int> calls_;
  std::map<std::string, Fault> faults_;
  std::string violations_;
  std::uintptr_t last_handle_ = 0;
  int contexts_ = 0;
  std::map<std::uintptr_t, std::vector<std::byte>> memory_;
  std::map<cuda::Stream, std::deque<Work>> streams_;
  std::map<cuda::Event, Event> events_;
  std::map<nccl::Comm*, Communicator> comms_;
};

}  // namespace baton::kv
