#include "core/picking/ratio_histogram.h"

#include <algorithm>
#include <cmath>

namespace baton {
namespace {

constexpr float kKept = 1.0F - 1.0F / 400;  // of the weight before, with each observation
constexpr float kLeast = 1e-9F;             // keeps an empty bin from costly subnormal numbers
constexpr double kGuessSpread = 0.25;       // of the log ratio
constexpr double kGuessWeight = 10;         // observations that the guess is worth

}  // namespace

RatioHistogram::RatioHistogram() {
  double sum = 0.0;
  const auto density = [](std::size_t bin) {
    const double at = (static_cast<double>(bin) + 0.5 - kBins / 2.0) * kBinWidth / kGuessSpread;
    return std::exp(-at * at / 2);
  };
  for (std::size_t i = 0; i < kBins; ++i) sum += density(i);
  for (std::size_t i = 0; i < kBins; ++i) {
    bins_[i].store(static_cast<float>(kGuessWeight * density(i) / sum), std::memory_order_relaxed);
  }
}

void RatioHistogram::add(double log_ratio, double weight) {
  for (auto& bin : bins_) {
    bin.store(bin.load(std::memory_order_relaxed) * kKept + kLeast, std::memory_order_relaxed);
  }
  const double at = log_ratio / kBinWidth + kBins / 2.0;
  auto& bin = bins_[static_cast<std::size_t>(std::clamp(at, 0.0, kBins - 1.0))];
  bin.store(bin.load(std::memory_order_relaxed) + static_cast<float>(weight),
            std::memory_order_relaxed);
}

double RatioHistogram::quantile(double q) const {
  std::array<float, kBins> weights;
  float sum = 0.0F;
  for (std::size_t i = 0; i < kBins; ++i) {
    sum += weights[i] = bins_[i].load(std::memory_order_relaxed);
  }
  auto left = std::clamp(std::isnan(q) ? 0.5 : q, 0.0, 1.0) * static_cast<double>(sum);
  double at = kBins;
  for (std::size_t i = 0; i < kBins; ++i) {
    const auto weight = static_cast<double>(weights[i]);
    if (left <= weight && weight > 0.0) {
      at = static_cast<double>(i) + left / weight;
      break;
    }
    left -= weight;
  }
  return std::exp((at - kBins / 2.0) * kBinWidth);
}

}  // namespace baton
