#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace baton::orchestrator::simulate {

inline constexpr std::size_t kFitTerms = 3;

// One time that was seen, and what is thought to make it up.
struct FitRow {
  std::array<double, kFitTerms> terms{};
  double value = 0;  // above 0
};

struct RobustFit {
  std::array<double, kFitTerms> coefficients{};  // none negative
  // Whether the rows tell the coefficient. One that they do not is 0, and others hold its part.
  std::array<bool, kFitTerms> told{};
  std::size_t rows = 0;
  double median_error = 0;  // of |fitted / seen − 1|
  double p90_error = 0;
};

// Least squares of the relative residuals with coefficients that are not negative; rows that lie
// far off weigh less (Huber's weights at 1.5 robust deviations). A coefficient is told where the
// rows leave less than 10 % of the values open to it (two standard errors), taking them to be no
// better than 1 % exact and no more than a hundred of them independent. While one is not, the first
// in `dropped_first` of those that it may be mistaken for is left out. There is at least one row.
[[nodiscard]] RobustFit fit_robustly(std::span<const FitRow> rows,
                                     const std::array<std::size_t, kFitTerms>& dropped_first);

}  // namespace baton::orchestrator::simulate
