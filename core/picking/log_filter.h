#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace baton {

// Recursive least squares with forgetting over a few parameters, mostly logarithms of coefficients,
// of which each observation shows a sum's logarithm. Owned by whoever observes, under its lock. It
// promises that what no observation tells of stays as certain as it was.
template <std::size_t N>
class LogFilter {
 public:
  using Vector = std::array<double, N>;

  // Standard deviations before anything was seen: `spread` of each parameter by itself, `common` of
  // what all of them are off by together. Of an observation `memory` observations later 1/e is
  // left.
  LogFilter(const Vector& start, const Vector& spread, const Vector& common, double memory)
      : parameters_(start), forgetting_(1.0 / memory) {
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = 0; j < N; ++j) covariance_[i][j] = common[i] * common[j];
      covariance_[i][i] += spread[i] * spread[i];
    }
  }

  [[nodiscard]] const Vector& parameters() const { return parameters_; }

  // Variance of a prediction whose derivatives by the parameters are `slopes`.
  [[nodiscard]] double variance(const Vector& slopes) const {
    double sum = 0.0;
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = 0; j < N; ++j) sum += slopes[i] * covariance_[i][j] * slopes[j];
    }
    return std::max(sum, 0.0);
  }

  // `residual` is observed minus predicted, `total` its variance from all sources, variance(slopes)
  // among them.
  void learn(const Vector& slopes, double residual, double total) {
    Vector shared{};  // covariance · slopes
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = 0; j < N; ++j) shared[i] += covariance_[i][j] * slopes[j];
    }
    double known = 0.0;
    for (std::size_t i = 0; i < N; ++i) known += slopes[i] * shared[i];
    if (known <= 0.0) return;
    // What is forgotten lies in the direction that was observed.
    const double change = 1.0 / total - forgetting_ / known;
    for (std::size_t i = 0; i < N; ++i) {
      parameters_[i] += shared[i] / total * residual;
      for (std::size_t j = 0; j < N; ++j) covariance_[i][j] -= change * shared[i] * shared[j];
    }
  }

 private:
  Vector parameters_;
  std::array<Vector, N> covariance_{};
  double forgetting_;
};

}  // namespace baton
