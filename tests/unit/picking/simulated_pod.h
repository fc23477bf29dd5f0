#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "core/engine_model/timing.h"
#include "core/picking/latency_model.h"

// Pods whose times are known, and what a model is shown of them.
namespace baton::simulated {

using engine_model::LatencyProfile;

inline constexpr double kKvCapacity =
    1e6;  // tokens of the profiles that go by the share of KV in use

// A pod of one profile, with noise. Its times are what the model should learn.
class SimulatedPod {
 public:
  explicit SimulatedPod(LatencyProfile profile, std::uint32_t index = 0, double factor = 1.0)
      : index(index), profile_(std::move(profile)) {
    profile_.factor = factor;
  }
  void become(double factor) { profile_.factor = factor; }

  // In steps of 8,192 tokens, as engines compute long prompts.
  [[nodiscard]] double prefill(Tokens cached, Tokens uncached) const {
    constexpr Tokens kStep{8192};
    double seconds = 0;
    while (uncached.count() > 0) {
      const Tokens chunk = std::min(uncached, kStep);
      engine_model::PrefillWork work;
      work.add(cached, chunk);
      seconds += to_seconds(profile_.prefill(work));
      cached += chunk;
      uncached -= chunk;
    }
    return seconds;
  }
  [[nodiscard]] double step(int batch, Tokens kv) const {
    return to_seconds(profile_.decode({batch, kv, static_cast<double>(kv.count()) / kKvCapacity}));
  }

  const std::uint32_t index;

 private:
  LatencyProfile profile_;
};

struct Prompt {
  Tokens cached{0};
  Tokens uncached{0};
};
struct Batch {
  int sequences = 0;
  Tokens kv{0};
};

// Draws from one seed; log-normal noise of 10 %, and outliers where they are asked for.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : rng_(seed) {}

  [[nodiscard]] Prompt prompt() {
    const double tokens = log_uniform(100, 100'000);
    const double share = rng_() % 2 == 0 ? 0.0 : uniform(0.0, 0.95);
    const auto cached = static_cast<std::int64_t>(tokens * share);
    return {Tokens(cached), Tokens(static_cast<std::int64_t>(tokens) - cached)};
  }
  [[nodiscard]] Batch batch() {
    const int sequences = static_cast<int>(std::lround(uniform(1, 200)));
    const double kv = std::min(sequences * log_uniform(100, 10'000), kKvCapacity);
    return {sequences, Tokens(static_cast<std::int64_t>(kv))};
  }
  [[nodiscard]] double noise(double spread = 0.1) {
    return std::exp(std::normal_distribution(0.0, spread)(rng_));
  }
  [[nodiscard]] bool one_in(unsigned n) { return rng_() % n == 0; }
  [[nodiscard]] double uniform(double least, double most) {
    return std::uniform_real_distribution(least, most)(rng_);
  }

 private:
  [[nodiscard]] double log_uniform(double least, double most) {
    return std::exp(uniform(std::log(least), std::log(most)));
  }
  std::mt19937_64 rng_;
};

inline void see_prefill(LatencyModel& model, const SimulatedPod& pod, Draws& draws,
                        double factor = 1.0) {
  const auto [cached, uncached] = draws.prompt();
  const PromptWork work = PromptWork::of(cached, uncached);
  model.observe(LatencyModel::PrefillSeen{pod.index, 1, work.uncached_tokens, work.pairs,
                                          pod.prefill(cached, uncached) * draws.noise() * factor});
}

inline void see_step(LatencyModel& model, const SimulatedPod& pod, Draws& draws,
                     double factor = 1.0) {
  const auto [sequences, kv] = draws.batch();
  model.observe(LatencyModel::StepSeen{pod.index, static_cast<double>(sequences),
                                       static_cast<double>(kv.count()), 128,
                                       pod.step(sequences, kv) * draws.noise() * factor});
}

inline void see_both(LatencyModel& model, const SimulatedPod& pod, Draws& draws, int times) {
  for (int i = 0; i < times; ++i) {
    see_prefill(model, pod, draws);
    see_step(model, pod, draws);
  }
}

// Relative errors of predictions against the times without noise, over what is drawn anew.
class Errors {
 public:
  void add(double predicted, double truth) { errors_.push_back(std::abs(predicted / truth - 1.0)); }
  [[nodiscard]] double mean() const {
    double sum = 0.0;
    for (const double error : errors_) sum += error;
    return sum / static_cast<double>(errors_.size());
  }
  [[nodiscard]] double quantile(double q) const {
    std::vector<double> sorted = errors_;
    std::ranges::sort(sorted);
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
  }

 private:
  std::vector<double> errors_;
};

inline Errors prefill_errors(const LatencyModel& model, const SimulatedPod& pod) {
  Draws draws(4711);
  Errors errors;
  for (int i = 0; i < 500; ++i) {
    const auto [cached, uncached] = draws.prompt();
    errors.add(model.prefill_seconds(pod.index, cached, uncached), pod.prefill(cached, uncached));
  }
  return errors;
}

inline Errors step_errors(const LatencyModel& model, const SimulatedPod& pod) {
  Draws draws(4711);
  Errors errors;
  for (int i = 0; i < 500; ++i) {
    const auto [sequences, kv] = draws.batch();
    errors.add(model.step_seconds(pod.index, sequences, static_cast<double>(kv.count())),
               pod.step(sequences, kv));
  }
  return errors;
}

inline LatencyPrior wrong_by(double factor) {
  LatencyPrior prior;
  for (double* seconds :
       {&prior.prefill_seconds, &prior.prefill_seconds_per_token, &prior.prefill_seconds_per_pair,
        &prior.step_seconds, &prior.step_seconds_per_sequence, &prior.step_seconds_per_kv_token}) {
    *seconds *= factor;
  }
  return prior;
}

inline LatencyProfile small_gpu() {
  LatencyProfile profile;
  profile.name = "small-gpu";
  profile.prefill_base_s = 40e-3;
  profile.prefill_token_s = 400e-6;
  profile.prefill_square_s = 3e-9;
  profile.step_base_s = 30e-3;
  profile.step_sequence_s = 300e-6;
  profile.step_context_token_s = 40e-9;
  return profile;
}

inline LatencyProfile profile_of(std::string_view name) {
  return name == "small-gpu" ? small_gpu() : *engine_model::parse_latency_profile(name);
}

}  // namespace baton::simulated
