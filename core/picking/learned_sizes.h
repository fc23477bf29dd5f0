#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace baton {

// How long a pool's prompts and answers are, as the io thread that learned last would estimate it:
// for whoever explains or shows a plan beside those threads. Any thread.
struct LearnedSizes {
  std::atomic<double> bytes_per_token{0};  // of prompt text; 0: nothing was learned
  std::atomic<double> output_tokens{0};    // of an answer
};

// Those of each pool of the process. Owned by the router beside its other shared tables; any
// thread. A place once given out stays where it is, and outlives a reload of its pool.
class LearnedSizesOfPools {
 public:
  [[nodiscard]] LearnedSizes& of(std::string_view pool) {
    const std::scoped_lock lock(mutex_);
    auto found = pools_.find(pool);
    if (found == pools_.end()) {
      found = pools_.emplace(std::string(pool), std::make_unique<LearnedSizes>()).first;
    }
    return *found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<LearnedSizes>, std::less<>> pools_;
};

}  // namespace baton
