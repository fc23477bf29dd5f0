#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/units.h"

namespace baton::kv {

// How a thread waits for NCCL and CUDA, which have no descriptor to wait on: it looks again after
// 20 µs, then ever later up to half a millisecond, and wakes at once when it is to stop.
class Patience {
 public:
  explicit Patience(std::stop_token stop) : stop_(std::move(stop)) {}

  // `ready` gives Result<bool>. Errors: its own, kUnavailable (to stop, or not ready in `limit`).
  template <class Ready>
  [[nodiscard]] Result<void> until(std::string_view what, Duration limit, Ready ready) {
    const TimePoint deadline = Clock::now() + limit;
    for (Duration pause = kFirst;; pause = std::min<Duration>(2 * pause, kLongest)) {
      const Result<bool> is_ready = ready();
      if (!is_ready) return std::unexpected(is_ready.error());
      if (*is_ready) return {};
      if (stop_.stop_requested()) return given_up(what, "the connection is being closed");
      if (Clock::now() >= deadline) return given_up(what, "the peer or the GPU makes no progress");
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, stop_, pause, [] { return false; });
    }
  }

 private:
  static constexpr Duration kFirst = std::chrono::microseconds(20);
  static constexpr Duration kLongest = std::chrono::microseconds(500);

  static Result<void> given_up(std::string_view what, std::string_view why) {
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                "nccl: " + std::string(what) + ": " + std::string(why), true);
  }

  const std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
};

}  // namespace baton::kv
