#pragma once

#include <cstdint>

#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

enum class HealthEvent : std::uint8_t {
  kNone,
  kFirstSeen,        // answered its first check
  kEjected,          // failed too many checks
  kEjectedByErrors,  // failed too many requests
  kTakenBack,
};

// Decides from the checks of one pod and from its failed requests whether it takes requests, and
// when it is checked next. Owned by the registry, on the control thread. Pure: time and
// observations are passed in.
//
// A pod not yet seen is checked every kFirstInterval, so that a system that starts is ready as soon
// as its pods are; after kFirstPatience, every interval. A pod is ejected after `failures` failed
// checks or `passive_errors` failed requests in a row, and taken back by a good check. A pod that
// was ejected for its requests, or again soon after it was taken back, has to stay out for a while
// first: one interval, doubled each time up to kLongestEjection, and forgotten once the pod has
// been healthy for kForgetEjections intervals.
class PodHealth {
 public:
  static constexpr Duration kFirstInterval = std::chrono::milliseconds(100);
  static constexpr Duration kFirstPatience = std::chrono::seconds(60);
  static constexpr Duration kLongestEjection = std::chrono::seconds(60);
  static constexpr int kForgetEjections = 10;

  PodHealth(const HealthConfig& config, TimePoint now);

  HealthEvent on_check(bool good, TimePoint now);
  // `consecutive` failed requests since the last good one.
  HealthEvent on_request_errors(int consecutive, TimePoint now);
  void set_draining(bool draining) { draining_ = draining; }
  void set_config(const HealthConfig& config) { config_ = config; }

  [[nodiscard]] Health health() const { return draining_ ? Health::kDraining : health_; }
  [[nodiscard]] bool usable() const { return health() == Health::kHealthy; }
  [[nodiscard]] TimePoint next_check() const { return next_check_; }
  [[nodiscard]] int failed_checks() const { return failed_checks_; }

 private:
  void eject(Duration stay_out, TimePoint now);
  [[nodiscard]] Duration stay_out() const;

  HealthConfig config_;
  Health health_ = Health::kUnknown;
  bool draining_ = false;
  int failed_checks_ = 0;  // in a row
  int ejections_ = 0;      // not yet forgotten
  TimePoint added_at_;
  TimePoint healthy_since_{};
  TimePoint out_until_{};
  TimePoint next_check_;
};

}  // namespace baton::orchestrator
