#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/error.h"

namespace baton::orchestrator::simulate {

// So many prefill and so many decode pods, and what share of the requests was good with them.
struct Ratio {
  int prefill = 0;
  int decode = 0;
  double good_share = 0;
  [[nodiscard]] int pods() const { return prefill + decode; }
};

struct RatioOptions {
  int most_pods = 64;
  double good_share = 0.95;  // wanted, of the requests offered
};

struct RatioResult {
  std::optional<Ratio> best;  // with the fewest pods of those that hold; none: not even the most do
  std::vector<Ratio> tried;   // in the order of trying
};

// The fewest pods, and their split into roles, with which the wanted share is good. Takes it that
// more pods are never worse, and that the share has no more than a few hills over the splits.
// Errors: those of `try_out`, which serves the workload by such pods and returns the good share.
[[nodiscard]] Result<RatioResult> find_ratio(
    const RatioOptions& options,
    const std::function<Result<double>(int prefill, int decode)>& try_out);

}  // namespace baton::orchestrator::simulate
