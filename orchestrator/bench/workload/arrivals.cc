#include "orchestrator/bench/workload/arrivals.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <random>

namespace baton::orchestrator::bench {
namespace {

// Positions of `count` arrivals of a process of rate 1: from 0 to exactly count - 1.
std::vector<double> unit_arrivals(double burstiness, std::uint64_t seed, std::size_t count) {
  std::vector<double> at(count, 0.0);
  const double span = static_cast<double>(count - 1);
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> gap(burstiness, 1.0 / burstiness);
  double sum = 0;
  for (std::size_t i = 1; i < count; ++i) at[i] = sum += gap(random);
  if (sum > 0) {
    for (double& position : at) position *= span / sum;
  }
  at.back() = span;
  return at;
}

std::vector<double> even_arrivals(std::size_t count) {
  std::vector<double> at(count);
  for (std::size_t i = 0; i < count; ++i) at[i] = static_cast<double>(i);
  return at;
}

// When the integral of a ramp's rate reaches `arrivals`, if it ends with `total` of them. Linear:
// rate(t) = a + (b - a) t / T, so T = 2 total / (a + b). Exponential: rate(t) = a e^(kt), so
// T = total ln(b / a) / (b - a).
double ramp_seconds(const Ramp& ramp, double arrivals, double total) {
  const double a = ramp.from_rate;
  const double b = ramp.to_rate;
  if (arrivals <= 0) return 0;
  if (std::abs(b - a) < 1e-9 * b) return arrivals / b;
  if (ramp.exponential) {
    const double k = (b - a) / total;  // of ln(rate) per second
    return std::log1p(k * arrivals / a) / k;
  }
  const double slope = (b - a) * (a + b) / (2 * total);  // requests per second, per second
  const double rate = std::sqrt(std::max(0.0, a * a + 2 * slope * arrivals));
  return 2 * arrivals / (a + rate);  // (rate - a) / slope, without the cancellation
}

Duration from_seconds(double seconds) { return std::chrono::round<Duration>(Seconds(seconds)); }

}  // namespace

std::vector<Duration> make_arrivals(const ArrivalOptions& options, std::size_t count) {
  std::vector<Duration> offsets(count, Duration::zero());
  const bool at_once = !options.ramp && std::isinf(options.rate);
  if (count < 2 || at_once) return offsets;
  assert(options.ramp || options.rate > 0);
  assert(!options.ramp || (options.ramp->from_rate >= 0 && options.ramp->to_rate >= 0 &&
                           options.ramp->from_rate + options.ramp->to_rate > 0));
  assert(!options.ramp || !options.ramp->exponential ||
         (options.ramp->from_rate > 0 && options.ramp->to_rate > 0));
  assert(options.burstiness > 0);
  const std::vector<double> positions =
      std::isinf(options.burstiness) ? even_arrivals(count)
                                     : unit_arrivals(options.burstiness, options.seed, count);
  for (std::size_t i = 1; i < count; ++i) {
    offsets[i] =
        from_seconds(options.ramp ? ramp_seconds(*options.ramp, positions[i], positions.back())
                                  : positions[i] / options.rate);
  }
  return offsets;
}

}  // namespace baton::orchestrator::bench
