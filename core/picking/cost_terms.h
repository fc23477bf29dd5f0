#pragma once

#include <algorithm>
#include <string_view>

#include "core/picking/latency_model.h"
#include "core/picking/lora_residency.h"
#include "core/picking/pod_load.h"
#include "core/picking/sent_adapters.h"
#include "core/plan.h"
#include "core/pod.h"
#include "core/units.h"

// What both routers put into a pod's cost. Inline, since they are asked of a thousand pods for each
// request.
namespace baton {

// Of a second that the later tokens take, beside one until the first: it is spread over the stream,
// which is read more slowly than it comes. A stop of a stream counts whole.
inline constexpr double kPaceWeight = 0.2;

// A prompt on pods that take as long as the pool's usual one.
class PromptTimes {
 public:
  PromptTimes(Tokens prompt, const LatencyModel& model) : prompt_(prompt), model_(model) {
    hold(Tokens(0));
  }
  // To compute what is not cached.
  [[nodiscard]] double prefill(Tokens cached) {
    if (cached != cached_) hold(cached);
    return prefill_;
  }
  // For which that stops each stream beside it: the fixed part holds up no step of others.
  [[nodiscard]] double stop(Tokens cached) {
    if (cached != cached_) hold(cached);
    return stop_;
  }

 private:
  // Most pods hold as little of it as the pod before them.
  void hold(Tokens cached) {
    cached_ = cached;
    PromptWork work = PromptWork::of(cached, prompt_ - cached);
    prefill_ = model_.prefill_seconds(LatencyModel::kAnyPod, work);
    work.prompts = 0;
    stop_ = model_.prefill_seconds(LatencyModel::kAnyPod, work);
  }

  const Tokens prompt_;
  const LatencyModel& model_;
  Tokens cached_{0};
  double prefill_ = 0.0;
  double stop_ = 0.0;
};

// Seconds until the pod has computed the prompts that are in flight to it; `factor` of its own.
[[nodiscard]] inline double queue_seconds(const PodLoad& load, const LatencyModel& model,
                                          double factor, TimePoint now) {
  const PromptWork waiting = PromptWork::waiting_at(load);
  if (waiting.prompts <= 0) return 0.0;
  const double all = model.prefill_seconds(LatencyModel::kAnyPod, waiting) * factor;
  // Of the prompt that is being computed some is done; how long it is nobody knows, so that no more
  // than a usual one is taken off.
  return all - std::min(load.computing_seconds(now).value_or(0.0), all / waiting.prompts);
}

// What the pod computes of the prompt, and how long the streams that run there stand still for it.
template <class Sum>
void add_prefill(Sum& cost, PromptTimes& times, Tokens cached, double factor, const PodLoad& load,
                 double stream_weight) {
  const int streams = load.running_decodes.load(std::memory_order_relaxed);
  cost.add(CostTerm::kPrefill, times.prefill(cached) * factor);
  cost.add(CostTerm::kHarm, stream_weight * times.stop(cached) * factor * streams);
}

// Seconds a token of a stream there, whose step takes so many: prompts that are computed beside it
// stop it.
[[nodiscard]] inline double pace_seconds(double step_seconds, const PodLoad& load, TimePoint now) {
  return step_seconds / (1 - load.still_share(now));
}

// Seconds until the pod has room for so much more KV: its streams end one after another and give
// theirs back, each after `stream_seconds`. 0 where its capacity is unknown.
[[nodiscard]] inline double room_seconds(const PodState& state, const PodLoad& load, Tokens more,
                                         double stream_seconds) {
  if (state.kv_capacity.count() <= 0) return 0.0;
  const auto held = static_cast<double>(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  const double missing =
      held + static_cast<double>(more.count()) - static_cast<double>(state.kv_capacity.count());
  if (missing <= 0 || held <= 0) return 0.0;
  return std::min(missing / held, 1.0) * stream_seconds;
}

// Seconds to get the adapter ready; empty: the base model.
[[nodiscard]] inline double lora_seconds(const PodState& state, const PodLoad& load,
                                         std::string_view adapter, SentAdapters::Key key,
                                         const LatencyModel& model) {
  if (adapter.empty()) return 0.0;
  return model.lora_seconds(lora_residency(state, load.adapters, adapter, key));
}

}  // namespace baton
