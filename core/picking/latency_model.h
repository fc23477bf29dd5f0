#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/picking/latency_fit.h"
#include "core/picking/log_filter.h"
#include "core/picking/lora_residency.h"
#include "core/picking/own_factor.h"
#include "core/picking/pair_factors.h"
#include "core/picking/pod_load.h"
#include "core/picking/prompt_work.h"
#include "core/picking/ratio_histogram.h"
#include "core/units.h"

namespace baton {

// What is assumed of a pool's pods before anything was observed: an 8B model on one data-centre
// GPU. Each figure is taken to be right within a factor of 4 or so.
struct LatencyPrior {
  double prefill_seconds = 5e-3;  // of each prompt, whatever its length
  double prefill_seconds_per_token = 100e-6;
  double prefill_seconds_per_pair = 0.3e-9;  // of the (cached + uncached)² − cached² attended to
  double step_seconds = 8e-3;                // one decode step at batch 0
  double step_seconds_per_sequence = 40e-6;
  double step_seconds_per_kv_token = 10e-9;  // of all sequences together
  double transfer_seconds = 0.5e-3;          // of each, whatever its size
  double transfer_bytes_per_second = 4e9;
  double handoff_seconds = 2e-3;  // fixed cost of a split: second leg, handshake, last piece
  double lora_load_seconds = 0.1;
  double lora_evict_seconds = 0.2;
};

// Predicted times of one pool's pods, from a prior and what was observed since: a fit of the whole
// pool times a factor of each pod (or pair of pods). Shared by all threads of the router; pure.
// Observations take a short lock; predictions take none and may mix coefficients of two moments.
// Whatever it is given, predictions are finite and not negative, and what cannot be is not learnt.
//   prefill  = per prompt + per token·uncached + per pair·(own + share·cached): pairs of uncached
//              tokens, and those of one with a cached one
//   step     = base + per sequence·batch + per token·kv·(1 + bend·kv)
//   transfer = setup + bytes / bandwidth
class LatencyModel {
 public:
  static constexpr std::uint32_t kAnyPod = ~0U;  // predicts what is usual in the pool

  explicit LatencyModel(const LatencyPrior& prior = {});
  LatencyModel(const LatencyModel&) = delete;
  LatencyModel& operator=(const LatencyModel&) = delete;
  ~LatencyModel();

  // Prompts computed by a pod without queueing: the time between two completions of a busy pod, or
  // from dispatch on an idle one. `pairs`: sum of (cached + uncached)² − cached².
  struct PrefillSeen {
    std::uint32_t pod = 0;
    double prompts = 0;
    double uncached_tokens = 0;
    double pairs = 0;
    double seconds = 0;
  };
  // Returns, as all of them, whether it was learnt from: it can be true.
  bool observe(const PrefillSeen& seen);

  // The mean of `steps` decode steps of one stream, with the pod's mean batch and KV over them.
  struct StepSeen {
    std::uint32_t pod = 0;
    double batch = 0;
    double kv_tokens = 0;
    double steps = 0;
    double seconds = 0;  // of one step
  };
  bool observe(const StepSeen& seen);

  // A whole movement of KV, what prefill hid of it too.
  struct TransferSeen {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    Bytes bytes{0};
    double seconds = 0;
  };
  bool observe(const TransferSeen& seen);

  // A prompt of an adapter that was not resident, on a pod that had no other prompt to compute:
  // what it took beyond its prefill is the adapter's. Engines may load in passing.
  struct AdapterSeen {
    std::uint32_t pod = 0;
    LoraResidency residency = LoraResidency::kLoadable;
    Tokens cached{0};
    Tokens uncached{0};
    double seconds = 0;
  };
  bool observe(const AdapterSeen& seen);

  // The coefficients of the pool's fit as they are now, without the bend of a step and the
  // cost of cached pairs; and by what factors a pod takes longer. Saved, they make much the same
  // model elsewhere.
  [[nodiscard]] LatencyPrior learned() const;
  struct Factors {
    double prefill = 1.0;
    double step = 1.0;
  };
  [[nodiscard]] Factors factors(std::uint32_t pod) const {
    const PodFactors* known = find(pod);
    return known == nullptr ? Factors{} : Factors{known->prefill.get(), known->step.get()};
  }
  void assume(std::uint32_t pod, const Factors& factors);

  // To be called every now and then. What makes a pod or the way between two slow, a neighbour's
  // job or a hot chip, passes in minutes, and a pod that is taken to be slow is not asked, so that
  // nothing would tell: factors that nothing was observed of near those of the others, by half in
  // kFactorHalfLife. One twice as slow is within 5 % of the others after four of them, and asked.
  void forget(TimePoint now);
  static constexpr Duration kFactorHalfLife = std::chrono::minutes(2);
  static constexpr Duration kForgetEach = std::chrono::seconds(10);

  // The pod restarted, or its index is another pod's now: it is as fast as the pool until seen.
  void forget_pod(std::uint32_t pod);

  [[nodiscard]] double prefill_seconds(std::uint32_t pod, const PromptWork& work) const;
  // One prompt, of which `cached` tokens are held there.
  [[nodiscard]] double prefill_seconds(std::uint32_t pod, Tokens cached, Tokens uncached) const;
  // One decode step of `batch` sequences that hold `kv_tokens` together.
  [[nodiscard]] double step_seconds(std::uint32_t pod, double batch, double kv_tokens) const;
  // Moving the bytes from pod to pod, hidden or not, without handoff_seconds().
  [[nodiscard]] double transfer_seconds(std::uint32_t from, std::uint32_t to, Bytes bytes) const;
  [[nodiscard]] double handoff_seconds() const { return prior_.handoff_seconds; }
  [[nodiscard]] double lora_seconds(LoraResidency residency) const;

  // By what factor the q-quantile of observed times exceeds the predicted ones.
  [[nodiscard]] double prefill_quantile(double q) const { return prefill_.ratios.quantile(q); }
  [[nodiscard]] double step_quantile(double q) const { return step_.ratios.quantile(q); }

  // Mean |observed / predicted − 1| of the last hundred or so, each predicted before it was learnt.
  struct Error {
    double prefill = 0;
    double step = 0;
    double transfer = 0;
    std::uint64_t prefill_seen = 0;
    std::uint64_t step_seen = 0;
    std::uint64_t transfer_seen = 0;
  };
  [[nodiscard]] Error error() const;

 private:
  // One kind of time. Of the parameters of `fit`, `coefficients` is what predictions read.
  template <std::size_t N>
  struct Kind {
    Kind(const std::array<double, N>& start, const std::array<double, N>& spread_of,
         const std::array<double, N>& common);

    LogFilter<N> fit;
    std::array<std::atomic<double>, N> coefficients{};
    RatioHistogram ratios;
    double spread = 0.15;  // of the log of observed over predicted where the fit is settled
    double error = 0;
    std::uint64_t seen = 0;
  };
  struct PodFactors {
    OwnFactor prefill;
    OwnFactor step;
  };
  static constexpr std::uint32_t kChunkPods = 256;
  using Chunk = std::array<PodFactors, kChunkPods>;

  template <std::size_t N>
  static std::array<double, N> read(const std::array<std::atomic<double>, N>& coefficients) {
    std::array<double, N> values;
    for (std::size_t i = 0; i < N; ++i) values[i] = coefficients[i].load(std::memory_order_relaxed);
    return values;
  }
  [[nodiscard]] PrefillFit prefill_fit() const {
    const auto [per_prompt, per_token, per_pair, per_cached_pair] = read(prefill_.coefficients);
    return {per_prompt, per_token, per_pair, per_cached_pair};
  }
  [[nodiscard]] StepFit step_fit() const {
    const auto [base, per_sequence, per_token, per_square] = read(step_.coefficients);
    return {base, per_sequence, per_token, per_square};
  }

  template <std::size_t N>
  static void learn(Kind<N>& kind, OwnFactor& own, const std::array<double, N>& slopes,
                    double predicted, double seconds, double weight);
  void publish_prefill();
  void publish_step();
  [[nodiscard]] const PodFactors* find(std::uint32_t pod) const {
    if (pod >= LoadTable::kMaxPods) return nullptr;
    const Chunk* chunk = chunks_[pod / kChunkPods].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : &(*chunk)[pod % kChunkPods];
  }
  [[nodiscard]] PodFactors* grow(std::uint32_t pod);

  const LatencyPrior prior_;
  mutable std::mutex learning_;
  Kind<4> prefill_;
  Kind<4> step_;
  Kind<2> transfer_;
  Kind<1> lora_load_;   // where a slot was free
  Kind<1> lora_evict_;  // until another adapter had left its slot, and this one was loaded
  OwnFactor no_pod_;    // of what is observed of all pods alike
  PairFactors pairs_;
  TimePoint forgot_at_{};  // none: forget() was not called yet
  std::array<std::atomic<Chunk*>, LoadTable::kMaxPods / kChunkPods> chunks_{};
};

inline double LatencyModel::prefill_seconds(std::uint32_t pod, const PromptWork& work) const {
  return prefill_fit().seconds(work) * factors(pod).prefill;
}

inline double LatencyModel::prefill_seconds(std::uint32_t pod, Tokens cached,
                                            Tokens uncached) const {
  return prefill_seconds(pod, PromptWork::of(cached, uncached));
}

inline double LatencyModel::step_seconds(std::uint32_t pod, double batch, double kv_tokens) const {
  return step_fit().seconds(batch, kv_tokens) * factors(pod).step;
}

inline double LatencyModel::transfer_seconds(std::uint32_t from, std::uint32_t to,
                                             Bytes bytes) const {
  const double moved = in_range(static_cast<double>(bytes.count()), kMostBytes);
  if (moved <= 0.0) return 0.0;
  const auto [setup, per_byte] = read(transfer_.coefficients);
  const double fit = setup + per_byte * moved;
  return from == kAnyPod || to == kAnyPod ? fit : fit * pairs_.get(from, to);
}

}  // namespace baton
