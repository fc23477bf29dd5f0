#include "core/picking/own_factor.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace baton {
namespace {

constexpr double kFactorMemory = 50;  // observations
constexpr float kMostLog = 7.0F;      // a thousandfold, either way

}  // namespace

void OwnFactor::learn(double residual, double total, double change) {
  observed_ = true;
  const double variance = this->variance();
  log_ += static_cast<float>(variance / total * residual);
  const double grown = (variance - variance * variance / total) * (1.0 + 1.0 / kFactorMemory);
  variance_ = static_cast<float>(std::min(grown, kSpread * kSpread));

  recent_[next_] = static_cast<float>(residual);
  next_ = static_cast<std::uint8_t>((next_ + 1U) % kRecent);
  seen_ = static_cast<std::uint8_t>(std::min<std::size_t>(seen_ + 1U, kRecent));
  if (seen_ >= kLeastRecent) {
    const float middle = median();
    if (std::abs(static_cast<double>(middle)) > change) {
      log_ += middle;
      variance_ = static_cast<float>(kSpread * kSpread / 4);
      seen_ = next_ = 0;
    }
  }
  publish();
}

float OwnFactor::median() const {
  std::array<float, kRecent> sorted = recent_;
  const auto middle = sorted.begin() + seen_ / 2;
  std::nth_element(sorted.begin(), middle, sorted.begin() + seen_);
  return *middle;
}

void OwnFactor::publish() {
  log_ = std::clamp(log_, -kMostLog, kMostLog);
  factor_.store(std::exp(log_), std::memory_order_relaxed);
}

void OwnFactor::forget(double kept, double usual) {
  if (std::exchange(observed_, false)) return;
  constexpr double kWidest = kSpread * kSpread;
  log_ = static_cast<float>(usual + kept * (logarithm() - usual));
  variance_ = static_cast<float>(kWidest + kept * kept * (variance() - kWidest));
  seen_ = next_ = 0;
  publish();
}

void OwnFactor::assume(double factor) {
  log_ = static_cast<float>(std::log(std::max(factor, 1e-6)));
  publish();
}

void OwnFactor::reset() {
  log_ = 0.0F;
  observed_ = false;
  variance_ = static_cast<float>(kSpread * kSpread);
  seen_ = next_ = 0;
  publish();
}

}  // namespace baton
