#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/units.h"

namespace baton::orchestrator::bench {

// From one rate to another over the run.
struct Ramp {
  double from_rate = 1;  // requests per second
  double to_rate = 1;
  bool exponential = false;
};

// When requests are offered in an open loop.
struct ArrivalOptions {
  double rate = 1;           // requests per second; infinity: all at once
  double burstiness = 1;     // shape of the gamma distribution of gaps: 1 Poisson, below 1 bursty,
                             // infinity: constant gaps
  std::optional<Ramp> ramp;  // instead of `rate`
  std::uint64_t seed = 0;
};

// `count` ascending offsets from 0. Gaps are drawn, then scaled so that the last offset is the one
// that the rate means (as vLLM's benchmark does), so that a short run offers the rate it names: it
// is (count - 1) / rate, and with a ramp the time at which the integral of the rate is count - 1,
// the rate going from one to the other over just that time. Gaps of a ramp are drawn at rate 1 and
// mapped through that integral. Rates and burstiness are above 0; a linear ramp may touch 0.
[[nodiscard]] std::vector<Duration> make_arrivals(const ArrivalOptions& options, std::size_t count);

}  // namespace baton::orchestrator::bench
