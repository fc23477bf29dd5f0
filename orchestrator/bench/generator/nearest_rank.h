#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace baton::orchestrator::bench {

// The 99th percentile by nearest rank; 0 of nothing. `values` is reordered.
template <class Number>
[[nodiscard]] double p99(std::vector<Number>& values) {
  if (values.empty()) return 0;
  const auto rank =
      static_cast<std::ptrdiff_t>(std::ceil(0.99 * static_cast<double>(values.size())) - 1);
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[static_cast<std::size_t>(rank)];
}

}  // namespace baton::orchestrator::bench
