#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "kv_transfer/node.h"

namespace baton::adapters {

struct SubmitCommand {
  EngineRequestId id = 0;
  EngineRequest request;
  std::shared_ptr<EngineSink> sink;
  TimePoint at{};
};
struct CancelCommand {
  EngineRequestId id = 0;
};
struct BlockArrived {  // carries the block's pin
  EngineRequestId id = 0;
  kv::BlockDescriptor block;
};
struct ReceiveEnded {
  EngineRequestId id = 0;
  Result<kv::ReceiveSummary> result;
};
struct SlotShortage {
  int slots = 0;
};
struct StopCommand {};
using EngineCommand = std::variant<SubmitCommand, CancelCommand, BlockArrived, ReceiveEnded,
                                   SlotShortage, StopCommand>;

// How other threads reach the engine thread. Shared by the engine and those who may call after it
// is gone; any thread. Promises order per caller, and after close() takes nothing more.
class EngineQueue {
 public:
  // False: closed, and the command is lost.
  bool push(EngineCommand command) {
    {
      const std::scoped_lock lock(mutex_);
      if (closed_) return false;
      commands_.push_back(std::move(command));
    }
    wake_.notify_one();
    return true;
  }

  // Everything that has come; waits for it at most `patience` (none: for ever).
  [[nodiscard]] std::vector<EngineCommand> take(std::optional<Duration> patience) {
    std::unique_lock lock(mutex_);
    const auto has_some = [this] { return !commands_.empty(); };
    if (!patience) {
      wake_.wait(lock, has_some);
    } else if (*patience > Duration::zero()) {
      wake_.wait_for(lock, *patience, has_some);
    }
    return std::exchange(commands_, {});
  }

  [[nodiscard]] std::vector<EngineCommand> close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    return std::exchange(commands_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<EngineCommand> commands_;
  bool closed_ = false;
};

}  // namespace baton::adapters
