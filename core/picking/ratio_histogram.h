#pragma once

#include <array>
#include <atomic>
#include <cstddef>

namespace baton {

// How observed over predicted was distributed lately. Written under the lock of its LatencyModel;
// quantile() by any thread. Until something was seen, a wide guess stands in.
class RatioHistogram {
 public:
  RatioHistogram();

  // `log_ratio` by its weight, at most 1; what was added before fades.
  void add(double log_ratio, double weight);
  // The ratio below which the share `q` of the observations is.
  [[nodiscard]] double quantile(double q) const;

 private:
  static constexpr std::size_t kBins = 160;
  static constexpr double kBinWidth = 0.04;  // of the log ratio; the middle bins are around 0

  std::array<std::atomic<float>, kBins> bins_{};
};

}  // namespace baton
