#include "core/picking/latency_model.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace baton {
namespace {

// Of the logarithms: of what each coefficient is off by, and of what all are (a slow machine).
constexpr double kPriorSpread = 1.0;
constexpr double kPriorCommon = 2.0;
constexpr double kMemory = 300;  // observations
constexpr double kErrorMemory = 100;
constexpr double kLeastCoefficient = 1e-15;
constexpr double kMostLogRatio = 7.0;

// The bend of a step's time over the KV is told at this many tokens, where a pod may have a step
// that takes less (paging, overlap) or more than in proportion.
constexpr double kBendTokens = 1e6;
constexpr double kBendSpread = 0.5;

// Attending to a cached token may cost less than to a fresh one, or more (paged KV): nothing in
// Dynamo's mocker.
constexpr double kCachedShareSpread = 0.5;
constexpr double kMostCachedShare = 3.0;

// A residual is unusual beyond so many standard deviations, and weighs less the further it is.
constexpr double kUnusual = 2.5;
// A pod changed where a median of nine is off by 20 %, or by four of its standard deviations.
constexpr double kLeastChange = 0.2;
constexpr double kChangeSpreads = 1.7;
// Means of this many decode steps weigh half of what those of very many do.
constexpr double kHalfWeightSteps = 16;

// An adapter that is loaded in passing takes a time below what prefills vary by.
constexpr double kLeastAdapterSeconds = 1e-3;

constexpr double kLeastSeconds = 1e-7;
constexpr double kMostSeconds = 1e5;

// Whether the figures of an observation can be true.
bool is_sane(double seconds, std::initializer_list<double> counts, double most) {
  return seconds >= kLeastSeconds && seconds <= kMostSeconds &&
         std::ranges::all_of(counts, [most](double n) { return n >= 0.0 && n <= most; });
}

double log_of(double coefficient) {
  return std::log(in_range(std::max(coefficient, kLeastCoefficient), kMostSeconds));
}

double coefficient_of(double logarithm) {
  return std::clamp(std::exp(logarithm), kLeastCoefficient, kMostSeconds);
}

template <std::size_t N>
void publish(std::array<std::atomic<double>, N>& coefficients, const LogFilter<N>& fit) {
  for (std::size_t i = 0; i < N; ++i) {
    coefficients[i].store(coefficient_of(fit.parameters()[i]), std::memory_order_relaxed);
  }
}

}  // namespace

template <std::size_t N>
LatencyModel::Kind<N>::Kind(const std::array<double, N>& start,
                            const std::array<double, N>& spread_of,
                            const std::array<double, N>& common)
    : fit(start, spread_of, common, kMemory) {}

LatencyModel::LatencyModel(const LatencyPrior& prior)
    : prior_(prior),
      prefill_({log_of(prior.prefill_seconds), log_of(prior.prefill_seconds_per_token),
                log_of(prior.prefill_seconds_per_pair), 1.0},
               {kPriorSpread, kPriorSpread, kPriorSpread, kCachedShareSpread},
               {kPriorCommon, kPriorCommon, kPriorCommon, 0.0}),
      step_({log_of(prior.step_seconds), log_of(prior.step_seconds_per_sequence),
             log_of(prior.step_seconds_per_kv_token), 0.0},
            {kPriorSpread, kPriorSpread, kPriorSpread, kBendSpread},
            {kPriorCommon, kPriorCommon, kPriorCommon, 0.0}),
      transfer_({log_of(prior.transfer_seconds),
                 log_of(1.0 / std::max(prior.transfer_bytes_per_second, 1.0))},
                {kPriorSpread, kPriorSpread}, {kPriorCommon, kPriorCommon}),
      lora_load_({log_of(prior.lora_load_seconds)}, {kPriorSpread}, {kPriorCommon}),
      lora_evict_({log_of(prior.lora_load_seconds + prior.lora_evict_seconds)}, {kPriorSpread},
                  {kPriorCommon}) {
  publish_prefill();
  publish_step();
  publish(transfer_.coefficients, transfer_.fit);
  publish(lora_load_.coefficients, lora_load_.fit);
  publish(lora_evict_.coefficients, lora_evict_.fit);
}

LatencyModel::~LatencyModel() {
  for (auto& chunk : chunks_) delete chunk.load();
}

// The last one is of pairs with cached tokens: a share of that of other pairs.
void LatencyModel::publish_prefill() {
  publish(prefill_.coefficients, prefill_.fit);
  const auto& parameters = prefill_.fit.parameters();
  const double share = std::clamp(parameters[3], 0.0, kMostCachedShare);
  prefill_.coefficients[3].store(coefficient_of(parameters[2]) * share, std::memory_order_relaxed);
}

// The last one is the square's: bend times the linear one.
void LatencyModel::publish_step() {
  publish(step_.coefficients, step_.fit);
  const auto& parameters = step_.fit.parameters();
  step_.coefficients[3].store(coefficient_of(parameters[2]) * parameters[3] / kBendTokens,
                              std::memory_order_relaxed);
}

LatencyModel::PodFactors* LatencyModel::grow(std::uint32_t pod) {
  if (pod >= LoadTable::kMaxPods) return nullptr;
  std::atomic<Chunk*>& place = chunks_[pod / kChunkPods];
  if (place.load(std::memory_order_relaxed) == nullptr) {
    place.store(std::make_unique<Chunk>().release(), std::memory_order_release);
  }
  return &(*place.load(std::memory_order_relaxed))[pod % kChunkPods];
}

// A Kalman step in the log domain, where the fit's parameters and the logarithm of the pod's factor
// share the residual by their variances. An unusual residual counts as a noisier one.
template <std::size_t N>
void LatencyModel::learn(Kind<N>& kind, OwnFactor& own, const std::array<double, N>& slopes,
                         double predicted, double seconds, double weight) {
  const double ratio = seconds / predicted;
  const double residual = std::clamp(std::log(ratio), -kMostLogRatio, kMostLogRatio);
  const double known = kind.fit.variance(slopes) + own.variance();
  const double noise = kind.spread * kind.spread / weight;
  const double unusual = residual * residual / (kUnusual * kUnusual * (known + noise));
  const double total = known + noise * std::max(1.0, unusual);

  // How far a residual tells of the noise, not of what is still to be learnt.
  const double settled = noise / (known + noise);
  kind.ratios.add(residual, settled);
  const double change = std::max(kLeastChange, kChangeSpreads * kind.spread);
  kind.fit.learn(slopes, residual, total);
  own.learn(residual, total, change);

  constexpr double kMeanToDeviation = 1.2533;  // of a normal distribution: √(π/2)
  const double deviation = std::min(std::abs(residual), 3 * kind.spread) * kMeanToDeviation;
  kind.spread += settled * settled / 50 * (deviation - kind.spread);
  kind.spread = std::clamp(kind.spread, 0.03, 1.0);

  ++kind.seen;
  const double share = std::max(1.0 / kErrorMemory, 1.0 / static_cast<double>(kind.seen));
  kind.error += share * (std::min(std::abs(ratio - 1.0), 10.0) - kind.error);
}

bool LatencyModel::observe(const PrefillSeen& seen) {
  if (!is_sane(seen.seconds, {seen.prompts, seen.uncached_tokens}, kMostTokens) ||
      !is_sane(seen.seconds, {seen.pairs}, kMostPairs) || seen.prompts <= 0.0 ||
      seen.uncached_tokens <= 0.0) {
    return false;
  }
  const std::scoped_lock lock(learning_);
  PodFactors* pod = grow(seen.pod);
  if (pod == nullptr) return false;
  const double own =
      PrefillFit::pairs_among_uncached(seen.prompts, seen.uncached_tokens, seen.pairs);
  const double with_cached = seen.pairs - own;
  const auto [per_prompt, per_token, per_pair, per_cached_pair] = prefill_fit();
  const double prompts = per_prompt * seen.prompts;
  const double tokens = per_token * seen.uncached_tokens;
  const double pairs = per_pair * own + per_cached_pair * with_cached;
  const double fit = prompts + tokens + pairs;
  learn(prefill_, pod->prefill,
        {prompts / fit, tokens / fit, pairs / fit, per_pair * with_cached / fit},
        fit * pod->prefill.get(), seen.seconds, 1.0);
  publish_prefill();
  return true;
}

bool LatencyModel::observe(const StepSeen& seen) {
  if (!is_sane(seen.seconds, {seen.batch}, kMostSequences) ||
      !is_sane(seen.seconds, {seen.kv_tokens, seen.steps}, kMostTokens) || seen.batch <= 0.0 ||
      seen.steps <= 0.0) {
    return false;
  }
  const std::scoped_lock lock(learning_);
  PodFactors* pod = grow(seen.pod);
  if (pod == nullptr) return false;
  const StepFit step = step_fit();
  const auto [base, per_sequence, per_token, per_square] = step;
  const double kv = step.up_to_top(seen.kv_tokens);
  const double sequences = per_sequence * seen.batch;
  const double context = kv * (per_token + per_square * kv);
  const double fit = base + sequences + context;
  learn(step_, pod->step,
        {base / fit, sequences / fit, context / fit, per_token * kv * kv / kBendTokens / fit},
        fit * pod->step.get(), seen.seconds, seen.steps / (seen.steps + kHalfWeightSteps));
  publish_step();
  return true;
}

bool LatencyModel::observe(const TransferSeen& seen) {
  const auto bytes = static_cast<double>(seen.bytes.count());
  if (!is_sane(seen.seconds, {bytes}, kMostBytes) || bytes <= 0.0) return false;
  const std::scoped_lock lock(learning_);
  OwnFactor& pair = pairs_.of(seen.from, seen.to);
  const auto [setup, per_byte] = read(transfer_.coefficients);
  const double fit = setup + per_byte * bytes;
  learn(transfer_, pair, {setup / fit, per_byte * bytes / fit}, fit * pair.get(), seen.seconds,
        1.0);
  publish(transfer_.coefficients, transfer_.fit);
  return true;
}

bool LatencyModel::observe(const AdapterSeen& seen) {
  if (seen.residency == LoraResidency::kResident || !is_sane(seen.seconds, {}, 0.0)) return false;
  const double prefill = prefill_seconds(seen.pod, seen.cached, seen.uncached);
  const double waited = std::max(seen.seconds - prefill, kLeastAdapterSeconds);
  const std::scoped_lock lock(learning_);
  auto& kind = seen.residency == LoraResidency::kLoadable ? lora_load_ : lora_evict_;
  const auto [predicted] = read(kind.coefficients);
  learn(kind, no_pod_, {1.0}, predicted, waited, 1.0);
  no_pod_.reset();
  publish(kind.coefficients, kind.fit);
  return true;
}

LatencyPrior LatencyModel::learned() const {
  LatencyPrior learned = prior_;
  const auto prefill = read(prefill_.coefficients);
  learned.prefill_seconds = prefill[0];
  learned.prefill_seconds_per_token = prefill[1];
  learned.prefill_seconds_per_pair = prefill[2];
  const auto step = read(step_.coefficients);
  learned.step_seconds = step[0];
  learned.step_seconds_per_sequence = step[1];
  learned.step_seconds_per_kv_token = step[2];
  const auto transfer = read(transfer_.coefficients);
  learned.transfer_seconds = transfer[0];
  learned.transfer_bytes_per_second = 1.0 / transfer[1];
  learned.lora_load_seconds = read(lora_load_.coefficients)[0];
  learned.lora_evict_seconds =
      std::max(0.0, read(lora_evict_.coefficients)[0] - learned.lora_load_seconds);
  return learned;
}

void LatencyModel::assume(std::uint32_t pod, const Factors& factors) {
  const std::scoped_lock lock(learning_);
  PodFactors* known = grow(pod);
  if (known == nullptr) return;
  known->prefill.assume(factors.prefill);
  known->step.assume(factors.step);
}

void LatencyModel::forget_pod(std::uint32_t pod) {
  const std::scoped_lock lock(learning_);
  pairs_.forget_pod(pod);
  if (find(pod) == nullptr) return;
  PodFactors* const known = grow(pod);
  known->prefill.reset();
  known->step.reset();
}

void LatencyModel::forget(TimePoint now) {
  const std::scoped_lock lock(learning_);
  const Duration passed = now - forgot_at_;
  if (forgot_at_ != TimePoint{} && passed >= Duration{} && passed < kForgetEach) return;
  const bool can_tell = forgot_at_ != TimePoint{} && passed > Duration{};
  forgot_at_ = now;
  if (!can_tell) return;
  const double kept = std::exp2(-to_seconds(passed) / to_seconds(kFactorHalfLife));
  const auto each_pod = [this](auto&& visit) {
    for (const auto& place : chunks_) {
      Chunk* const chunk = place.load(std::memory_order_relaxed);
      if (chunk != nullptr) std::ranges::for_each(*chunk, visit);
    }
  };
  UsualFactor prefill;
  UsualFactor step;
  each_pod([&](const PodFactors& pod) {
    prefill.add(pod.prefill);
    step.add(pod.step);
  });
  each_pod([&](PodFactors& pod) {
    if (prefill.known()) pod.prefill.forget(kept, prefill.logarithm());
    if (step.known()) pod.step.forget(kept, step.logarithm());
  });
  pairs_.forget(kept);
}

double LatencyModel::lora_seconds(LoraResidency residency) const {
  switch (residency) {
    case LoraResidency::kResident: return 0.0;
    case LoraResidency::kLoadable: return read(lora_load_.coefficients)[0];
    case LoraResidency::kFull: return read(lora_evict_.coefficients)[0];
  }
  return 0.0;
}

LatencyModel::Error LatencyModel::error() const {
  const std::scoped_lock lock(learning_);
  return {prefill_.error, step_.error, transfer_.error, prefill_.seen, step_.seen, transfer_.seen};
}

}  // namespace baton
