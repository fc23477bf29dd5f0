#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/picking/latency_model.h"

namespace baton {

// The LatencyModel of each pool of the process. Owned by the router beside its other shared tables;
// any thread. A model once given out stays where it is, and outlives a reload of its pool.
class LatencyModels {
 public:
  // `prior` is that of a model which is not there yet.
  [[nodiscard]] LatencyModel& of(std::string_view pool, const LatencyPrior& prior = {}) {
    const std::scoped_lock lock(mutex_);
    auto found = models_.find(pool);
    if (found == models_.end()) {
      found = models_.emplace(std::string(pool), std::make_unique<LatencyModel>(prior)).first;
    }
    return *found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<LatencyModel>, std::less<>> models_;
};

}  // namespace baton
