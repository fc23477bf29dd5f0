#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace baton {

// By what factor one pod, or the way between two, takes longer than the pool's fit says: near 1
// while little was seen of it, or nothing for long; followed at once where the median of the last
// few observations says that it changed. Written under the lock of its LatencyModel; get() by any
// thread.
class OwnFactor {
 public:
  [[nodiscard]] double get() const {
    return static_cast<double>(factor_.load(std::memory_order_relaxed));
  }
  [[nodiscard]] double variance() const { return static_cast<double>(variance_); }  // of its log

  // `residual` is the logarithm of observed over predicted, `total` its variance from all sources,
  // variance() among them. A median beyond `change` is a change, not noise.
  void learn(double residual, double total, double change);
  // Time passed. Where nothing was observed since the last call, `kept` of what sets the logarithm
  // apart from the `usual` one is left, and the rest of what was known is uncertain again (an
  // Ornstein-Uhlenbeck process without observations).
  void forget(double kept, double usual);
  [[nodiscard]] bool observed() const { return observed_; }  // since the last forget()
  [[nodiscard]] double logarithm() const { return static_cast<double>(log_); }
  void reset();
  void assume(double factor);  // as learned elsewhere

  static constexpr double kSpread = 0.4;  // of its logarithm, before anything was seen

 private:
  static constexpr std::size_t kRecent = 9;
  static constexpr std::size_t kLeastRecent = 5;

  [[nodiscard]] float median() const;
  void publish();

  std::atomic<float> factor_{1.0F};
  float log_ = 0.0F;
  float variance_ = static_cast<float>(kSpread * kSpread);
  std::array<float, kRecent> recent_{};  // residuals, the oldest overwritten
  std::uint8_t seen_ = 0;                // of `recent_`
  std::uint8_t next_ = 0;
  bool observed_ = false;  // since the last forget()
};

// The mean logarithm of the factors that were observed of late: what is usual, since that the fit
// lies there nothing ensures.
class UsualFactor {
 public:
  void add(const OwnFactor& factor) {
    if (!factor.observed()) return;
    sum_ += factor.logarithm();
    ++count_;
  }
  [[nodiscard]] bool known() const { return count_ > 0; }
  [[nodiscard]] double logarithm() const { return known() ? sum_ / count_ : 0.0; }

 private:
  double sum_ = 0;
  int count_ = 0;
};

}  // namespace baton
