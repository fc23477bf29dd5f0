#pragma once

#include <atomic>

#include "core/picking/per_pool.h"

namespace baton {

// How long a pool's prompts and answers are, as the io thread that learned last would estimate it:
// for whoever explains or shows a plan beside those threads. Any thread.
struct LearnedSizes {
  std::atomic<double> bytes_per_token{0};  // of prompt text; 0: nothing was learned
  std::atomic<double> output_tokens{0};    // of an answer
};

using LearnedSizesOfPools = PerPool<LearnedSizes>;

}  // namespace baton
