#pragma once

#include <algorithm>

#include "core/units.h"

namespace baton::orchestrator {

// Keeps retries to a share of requests, so that a failing pool is not buried under them: each
// request puts `ratio` of a retry in, each retry takes one out. A small floor, refilled by one a
// second, lets a quiet router retry at all. Owned by an io thread; pure.
class RetryBudget {
 public:
  static constexpr double kFloor = 10.0;
  static constexpr double kSavings = 100.0;  // most that requests can put in

  explicit RetryBudget(double ratio) : ratio_(ratio) {}

  void on_request(TimePoint now) {
    refill(now);
    if (balance_ < kFloor + kSavings) balance_ += ratio_;
  }
  // Takes one retry out; false: there is none.
  [[nodiscard]] bool take(TimePoint now) {
    refill(now);
    if (balance_ < 1.0) return false;
    balance_ -= 1.0;
    return true;
  }
  [[nodiscard]] double balance() const { return balance_; }

 private:
  void refill(TimePoint now) {
    if (now <= refilled_at_) return;
    if (balance_ < kFloor && refilled_at_ != TimePoint{}) {
      balance_ = std::min(kFloor, balance_ + to_seconds(now - refilled_at_));
    }
    refilled_at_ = now;
  }

  double ratio_;
  double balance_ = kFloor;
  TimePoint refilled_at_{};
};

}  // namespace baton::orchestrator
