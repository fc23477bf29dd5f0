#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace baton {

// One of something for each pool of the process. Owned by the router beside its other shared
// tables; any thread. One that was given out stays where it is, and outlives a reload of its pool.
template <class T>
class PerPool {
 public:
  // Made on first use, of `made_of`.
  template <class... Args>
  [[nodiscard]] T& of(std::string_view pool, Args&&... made_of) {
    const std::scoped_lock lock(mutex_);
    auto found = by_pool_.find(pool);
    if (found == by_pool_.end()) {
      found =
          by_pool_.emplace(std::string(pool), std::make_unique<T>(std::forward<Args>(made_of)...))
              .first;
    }
    return *found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<T>, std::less<>> by_pool_;
};

}  // namespace baton
