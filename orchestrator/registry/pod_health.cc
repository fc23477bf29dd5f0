#include "orchestrator/registry/pod_health.h"

#include <algorithm>

namespace baton::orchestrator {

PodHealth::PodHealth(const HealthConfig& config, TimePoint now)
    : config_(config), added_at_(now), next_check_(now) {}

HealthEvent PodHealth::on_check(bool good, TimePoint now) {
  next_check_ = now + config_.interval;
  if (!good) {
    ++failed_checks_;
    if (health_ == Health::kUnknown) {
      if (now - added_at_ < kFirstPatience) {
        next_check_ = now + std::min(kFirstInterval, config_.interval);
      }
    } else if (health_ == Health::kHealthy && failed_checks_ >= config_.failures) {
      eject(ejections_ == 0 ? Duration::zero() : stay_out(), now);
      return HealthEvent::kEjected;
    }
    return HealthEvent::kNone;
  }
  failed_checks_ = 0;
  if (health_ == Health::kHealthy) {
    if (now - healthy_since_ >= kForgetEjections * config_.interval) ejections_ = 0;
    return HealthEvent::kNone;
  }
  if (health_ == Health::kEjected && now < out_until_) {
    next_check_ = std::min(next_check_, out_until_);
    return HealthEvent::kNone;
  }
  const bool first = health_ == Health::kUnknown;
  health_ = Health::kHealthy;
  healthy_since_ = now;
  return first ? HealthEvent::kFirstSeen : HealthEvent::kTakenBack;
}

HealthEvent PodHealth::on_request_errors(int consecutive, TimePoint now) {
  if (health_ != Health::kHealthy || consecutive < config_.passive_errors) {
    return HealthEvent::kNone;
  }
  eject(stay_out(), now);
  next_check_ = std::min(next_check_, out_until_);
  return HealthEvent::kEjectedByErrors;
}

void PodHealth::eject(Duration stay_out, TimePoint now) {
  health_ = Health::kEjected;
  out_until_ = now + stay_out;
  ++ejections_;
}

Duration PodHealth::stay_out() const {
  Duration time = config_.interval;
  for (int i = 0; i < ejections_ && time < kLongestEjection; ++i) time *= 2;
  return std::min(time, kLongestEjection);
}

}  // namespace baton::orchestrator
