#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/units.h"

namespace baton {

// How many tokens an answer will have, learned from those that ended: what clients ask for
// (max_tokens) is a bound that says little. A mean with forgetting. Owned by whoever plans; on one
// thread.
class OutputEstimate {
 public:
  [[nodiscard]] Tokens expected() const { return Tokens(std::llround(mean_)); }
  void start_from(double tokens) { mean_ = tokens; }
  void observe(std::int64_t tokens) {
    if (tokens < 0) return;
    seen_ = std::min(seen_ + 1, kMemory);
    mean_ += (static_cast<double>(tokens) - mean_) / (seen_ + kPriorWeight);
  }

 private:
  static constexpr double kMemory = 500;  // answers
  static constexpr double kPriorWeight = 2;
  double mean_ = 128;
  double seen_ = 0;
};

}  // namespace baton
