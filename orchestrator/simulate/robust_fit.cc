#include "orchestrator/simulate/robust_fit.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace baton::orchestrator::simulate {
namespace {

using Vector = std::array<double, kFitTerms>;
using Matrix = std::array<Vector, kFitTerms>;
using Terms = unsigned;  // a bit for each that is in use

constexpr Terms kAll = (1U << kFitTerms) - 1;
constexpr int kRounds = 20;
constexpr double kHuber = 1.5;
constexpr double kDeviationOfMedian = 1.4826;  // of a normal distribution, over its median
constexpr double kLeastNoise = 0.01;
constexpr double kMostIndependent = 100;
constexpr double kMostOpen = 0.1;
constexpr double kSingular = 1e-10;  // share of a column that the others leave over

bool has(Terms terms, std::size_t i) { return (terms >> i & 1U) != 0; }

// Sums of squares; columns are divided by their lengths, so that 1 stands in the diagonal.
struct Normal {
  Matrix matrix{};
  Vector right{};
  Vector length{};
};

// The inverse over `terms` by Gauss and Jordan; nothing where a column is made up of others.
std::optional<Matrix> inverse(const Matrix& matrix, Terms terms) {
  Matrix left = matrix;
  Matrix result{};
  for (std::size_t i = 0; i < kFitTerms; ++i) result[i][i] = 1;
  for (std::size_t i = 0; i < kFitTerms; ++i) {
    if (!has(terms, i)) continue;
    const double pivot = left[i][i];
    if (!(pivot > kSingular)) return std::nullopt;
    for (std::size_t j = 0; j < kFitTerms; ++j) {
      left[i][j] /= pivot;
      result[i][j] /= pivot;
    }
    for (std::size_t k = 0; k < kFitTerms; ++k) {
      if (k == i || !has(terms, k)) continue;
      const double factor = left[k][i];
      for (std::size_t j = 0; j < kFitTerms; ++j) {
        left[k][j] -= factor * left[i][j];
        result[k][j] -= factor * result[i][j];
      }
    }
  }
  return result;
}

class Fitting {
 public:
  explicit Fitting(std::span<const FitRow> rows) : rows_(rows), weights_(rows.size(), 1.0) {}

  RobustFit run(const std::array<std::size_t, kFitTerms>& dropped_first) {
    Terms terms = kAll;
    while (true) {
      const Vector coefficients = converge(terms);
      const bool last = (terms & (terms - 1)) == 0;
      if (last || open_beyond(kMostOpen, terms) == 0) return result(coefficients, terms);
      // What is open for one is nearly as open for those that it is mistaken for.
      const Terms mistaken = open_beyond(kMostOpen / 4, terms);
      terms &= ~(1U << *std::ranges::find_if(dropped_first,
                                             [&](std::size_t i) { return has(mistaken, i); }));
    }
  }

 private:
  Vector converge(Terms terms) {
    std::ranges::fill(weights_, 1.0);
    Vector coefficients{};
    for (int round = 0; round < kRounds; ++round) {
      coefficients = best_not_negative(normal(), terms);
      reweigh(coefficients);
    }
    return coefficients;
  }

  [[nodiscard]] Normal normal() const {
    Normal sums;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      for (std::size_t i = 0; i < kFitTerms; ++i) {
        const double term = rows_[r].terms[i] / rows_[r].value;
        sums.right[i] += weights_[r] * term;
        for (std::size_t j = 0; j < kFitTerms; ++j) {
          sums.matrix[i][j] += weights_[r] * term * rows_[r].terms[j] / rows_[r].value;
        }
      }
    }
    for (std::size_t i = 0; i < kFitTerms; ++i) sums.length[i] = std::sqrt(sums.matrix[i][i]);
    for (std::size_t i = 0; i < kFitTerms; ++i) {
      if (sums.length[i] <= 0) continue;
      sums.right[i] /= sums.length[i];
      for (std::size_t j = 0; j < kFitTerms; ++j) {
        if (sums.length[j] > 0) sums.matrix[i][j] /= sums.length[i] * sums.length[j];
      }
    }
    return sums;
  }

  // Few terms: the best of all subsets whose own least squares are not negative.
  [[nodiscard]] static Vector best_not_negative(const Normal& sums, Terms terms) {
    Vector best{};
    double most = 0;  // of the squares, explained
    for (Terms subset = 1; subset <= kAll; ++subset) {
      if ((subset & ~terms) != 0) continue;
      const auto inverted = inverse(sums.matrix, subset);
      if (!inverted) continue;
      Vector found{};
      double explained = 0;
      for (std::size_t i = 0; i < kFitTerms; ++i) {
        if (!has(subset, i)) continue;
        for (std::size_t j = 0; j < kFitTerms; ++j) {
          if (has(subset, j)) found[i] += (*inverted)[i][j] * sums.right[j];
        }
        explained += found[i] * sums.right[i];
      }
      if (std::ranges::min(found) < 0 || explained <= most) continue;
      most = explained;
      best = found;
    }
    for (std::size_t i = 0; i < kFitTerms; ++i) {
      if (sums.length[i] > 0) best[i] /= sums.length[i];
    }
    return best;
  }

  [[nodiscard]] std::vector<double> errors(const Vector& coefficients) const {
    std::vector<double> errors;
    errors.reserve(rows_.size());
    for (const FitRow& row : rows_) {
      double fitted = 0;
      for (std::size_t i = 0; i < kFitTerms; ++i) fitted += coefficients[i] * row.terms[i];
      errors.push_back(std::abs(fitted / row.value - 1));
    }
    return errors;
  }

  void reweigh(const Vector& coefficients) {
    const std::vector<double> all = errors(coefficients);
    deviation_ = kDeviationOfMedian * quantile(all, 0.5);
    const double bound = std::max(kHuber * deviation_, std::numeric_limits<double>::min());
    for (std::size_t r = 0; r < all.size(); ++r) weights_[r] = std::min(1.0, bound / all[r]);
  }

  [[nodiscard]] static double quantile(std::vector<double> values, double share) {
    const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, values.begin() + at);
    return values[static_cast<std::size_t>(at)];
  }

  // The terms of which more than `most` of a row is open to what the rows do not tell.
  [[nodiscard]] Terms open_beyond(double most, Terms terms) const {
    Normal sums = normal();
    // So that of columns which make up each other, and of no others, much is open.
    for (std::size_t i = 0; i < kFitTerms; ++i) sums.matrix[i][i] += 10 * kSingular;
    const auto inverted = inverse(sums.matrix, terms);
    const auto count = static_cast<double>(rows_.size());
    const double noise =
        std::max(deviation_, kLeastNoise) * std::sqrt(std::max(1.0, count / kMostIndependent));
    Terms open = 0;
    for (std::size_t i = 0; i < kFitTerms; ++i) {
      // Columns have the length 1, so that a row holds 1 / √rows of the coefficient.
      const bool is_open = !inverted || 2 * noise * std::sqrt((*inverted)[i][i] / count) >= most;
      if (has(terms, i) && is_open) open |= 1U << i;
    }
    return open;
  }

  [[nodiscard]] RobustFit result(const Vector& coefficients, Terms told) const {
    RobustFit fit;
    fit.coefficients = coefficients;
    for (std::size_t i = 0; i < kFitTerms; ++i) fit.told[i] = has(told, i);
    const std::vector<double> all = errors(coefficients);
    fit.rows = all.size();
    fit.median_error = quantile(all, 0.5);
    fit.p90_error = quantile(all, 0.9);
    return fit;
  }

  std::span<const FitRow> rows_;
  std::vector<double> weights_;
  double deviation_ = 0;  // of relative residuals
};

}  // namespace

RobustFit fit_robustly(std::span<const FitRow> rows,
                       const std::array<std::size_t, kFitTerms>& dropped_first) {
  assert(!rows.empty());
  return Fitting(rows).run(dropped_first);
}

}  // namespace baton::orchestrator::simulate
