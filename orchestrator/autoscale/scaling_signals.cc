#include "orchestrator/autoscale/scaling_signals.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/picking/prompt_work.h"

namespace baton::orchestrator {
namespace {

constexpr double kMostRequests = 65536;  // that a pod is believed to run or queue
constexpr double kMostTokens = 1e12;
constexpr double kMostFull = 4;  // that a pod counts: its claims must not speak for the pool

// NaN becomes `least`.
double within(double value, double least, double most) {
  return value > least ? std::min(value, most) : least;
}

double count_of(const std::atomic<std::int64_t>& counter, double most) {
  return within(static_cast<double>(counter.load(std::memory_order_relaxed)), 0.0, most);
}

double count_of(const std::atomic<int>& counter) {
  return within(static_cast<double>(counter.load(std::memory_order_relaxed)), 0.0, kMostRequests);
}

// How much scraped figures of this age count, 0 to 1. A clock that went back makes nothing old.
double freshness(const PodState& state, const SignalScale& scale, TimePoint now) {
  if (!state.observed_at || std::isnan(state.kv_usage)) return 0.0;
  const double age = to_seconds(now - *state.observed_at);
  const double fresh_for = to_seconds(scale.fresh_for);
  const double fades = to_seconds(scale.faded_after) - fresh_for;
  if (age <= fresh_for) return 1.0;
  return fades > 0.0 ? within(1.0 - (age - fresh_for) / fades, 0.0, 1.0) : 0.0;
}

// The two predictions that signals rest on. A pod with nothing to compute starts at once.
double predicted_queue_seconds(const LatencyModel& model, std::uint32_t pod, PromptWork waiting) {
  return waiting.uncached_tokens > 0.0 ? model.prefill_seconds(pod, waiting) : 0.0;
}

double predicted_step_seconds(const LatencyModel& model, std::uint32_t pod, double batch,
                              double kv_tokens) {
  return model.step_seconds(pod, batch, kv_tokens);
}

// Of the time a step may take beyond that of an idle pod, the share that is used. What an idle pod
// takes, more pods do not shorten; where that alone breaks the SLO they are no remedy.
double used_of_tpot(const LatencyModel& model, std::uint32_t pod, double step_seconds,
                    double slo_seconds) {
  const double idle = predicted_step_seconds(model, pod, 0.0, 0.0);
  return slo_seconds > idle ? within((step_seconds - idle) / (slo_seconds - idle), 0.0, kMostFull)
                            : 0.0;
}

double mean(double sum, int count) { return count > 0 ? sum / count : 0.0; }

}  // namespace

// One pod: what this router knows of it exactly, and what it told, as far as it is fresh.
struct ScalingSignals::View {
  std::uint32_t pod = 0;
  PromptWork waiting;
  double in_flight = 0.0;
  double decodes = 0.0;
  double reserved = 0.0;
  double capacity = 0.0;     // KV tokens; 0: unknown
  double max_running = 1.0;  // requests
  double busy_seconds = 0.0, passed_seconds = 0.0;

  double freshness = 0.0;  // of what follows
  double running = 0.0;
  double queued = 0.0;
  double deferred = 0.0;
  double kv_usage = 0.0;
};

// The ready pods of one role. A pod fades to the mean of the fresh ones as its figures age; where
// none are fresh, what the router has in flight stands in.
class ScalingSignals::Views {
 public:
  void add(const View& view) {
    pods_.push_back(view);
    freshness_ += view.freshness;
  }
  [[nodiscard]] const std::vector<View>& pods() const { return pods_; }
  [[nodiscard]] int count() const { return static_cast<int>(pods_.size()); }

  void fade() {
    const View fresh = mean_of_fresh();
    for (View& pod : pods_) {
      if (freshness_ <= 0.0) {
        pod.running = pod.in_flight;
        pod.kv_usage = pod.capacity > 0.0 ? within(pod.reserved / pod.capacity, 0.0, 1.0) : 0.0;
        pod.queued = pod.deferred = 0.0;
        continue;
      }
      const auto faded = [&pod](double own, double others) {
        return pod.freshness * own + (1.0 - pod.freshness) * others;
      };
      pod.running = faded(pod.running, fresh.running);
      pod.queued = faded(pod.queued, fresh.queued);
      pod.deferred = faded(pod.deferred, fresh.deferred);
      pod.kv_usage = faded(pod.kv_usage, fresh.kv_usage);
    }
  }

  template <class Figure>
  [[nodiscard]] double sum(Figure figure) const {
    double total = 0.0;
    for (const View& pod : pods_) total += figure(pod);
    return total;
  }
  template <class Figure>
  [[nodiscard]] double mean_of(Figure figure) const {
    return mean(sum(figure), count());
  }

 private:
  [[nodiscard]] View mean_of_fresh() const {
    View mean;
    if (freshness_ <= 0.0) return mean;
    for (const View& pod : pods_) {
      const double share = pod.freshness / freshness_;
      mean.running += share * pod.running;
      mean.queued += share * pod.queued;
      mean.deferred += share * pod.deferred;
      mean.kv_usage += share * pod.kv_usage;
    }
    return mean;
  }

  std::vector<View> pods_;
  double freshness_ = 0.0;  // of all together
};

void ScalingSignals::observe(const Snapshot& snapshot, TimePoint now) {
  std::map<std::uint32_t, Memory> kept;
  for (const auto& entry : snapshot.pods) {
    const PodLoad& load = loads_.of(entry->index);
    const Mark mark{now, load.prompt_time.read(now)};
    const auto known = memories_.find(entry->index);
    Memory memory = known != memories_.end() ? known->second : Memory{{}, 0, mark, mark};
    if (memory.observed_at != entry->state.observed_at) {
      memory.observed_at = entry->state.observed_at;
      memory.reserved_then = load.reserved_kv_tokens.load(std::memory_order_relaxed);
    }
    const bool went_back = now < memory.newer.at;
    if (went_back || !entry->state.takes_requests()) memory.older = memory.newer = mark;
    if (now - memory.newer.at >= kBusyWindow) memory.older = std::exchange(memory.newer, mark);
    kept.emplace(entry->index, memory);
  }
  memories_ = std::move(kept);
}

ScalingSignals::View ScalingSignals::view_of(const PodEntry& entry, const SignalScale& scale,
                                             TimePoint now) const {
  const PodLoad& load = loads_.of(entry.index);
  const PodState& state = entry.state;
  View view;
  view.pod = entry.index;
  view.waiting = PromptWork::waiting_at(load);
  view.waiting.uncached_tokens = within(view.waiting.uncached_tokens, 0.0, kMostTokens);
  view.in_flight = count_of(load.in_flight);
  view.decodes = count_of(load.running_decodes);
  view.reserved = count_of(load.reserved_kv_tokens, kMostTokens);
  view.capacity = within(static_cast<double>(state.kv_capacity.count()), 0.0, kMostTokens);
  view.max_running = std::max(1, entry.pod.max_running);
  view.freshness = freshness(state, scale, now);
  view.running = within(state.running, 0.0, kMostRequests);
  view.queued = within(state.waiting, 0.0, kMostRequests);
  view.deferred = within(state.deferred, 0.0, kMostRequests);
  view.kv_usage = within(state.kv_usage, 0.0, 1.0);

  const auto known = memories_.find(entry.index);
  if (known == memories_.end()) return view;
  const Memory& memory = known->second;
  if (view.capacity > 0.0 && memory.observed_at == state.observed_at) {
    const double since = view.reserved - static_cast<double>(memory.reserved_then);
    view.kv_usage = within(view.kv_usage + since / view.capacity, 0.0, 1.0);
  }
  const auto busy = BusyTime::passed_between(memory.older.busy, load.prompt_time.read(now));
  view.passed_seconds = std::max(0.0, to_seconds(now - memory.older.at));
  view.busy_seconds = within(to_seconds(busy), 0.0, view.passed_seconds);
  return view;
}

ScalingSignals::Views ScalingSignals::views_of(const Snapshot& snapshot, bool (*has_role)(Role),
                                               const SignalScale& scale, TimePoint now) const {
  Views views;
  for (const auto& entry : snapshot.pods) {
    if (!has_role(entry->pod.role) || !entry->state.takes_requests()) continue;
    if (loads_.of(entry->index).draining.load(std::memory_order_relaxed)) continue;
    views.add(view_of(*entry, scale, now));
  }
  views.fade();
  return views;
}

RoleSignals ScalingSignals::of(Role role, const Snapshot& snapshot, const LatencyModel& model,
                               const SignalScale& scale, int waiting, TimePoint now) const {
  const bool decodes = role == Role::kDecode;
  const Views views = views_of(snapshot, decodes ? can_decode : can_prefill, scale, now);
  RoleSignals signals;
  signals.ready_pods = views.count();
  if (views.count() == 0) {
    signals.saturation = waiting > 0 ? 1.0 : 0.0;
    return signals;
  }
  signals.queue_seconds = views.mean_of(
      [&model](const View& pod) { return predicted_queue_seconds(model, pod.pod, pod.waiting); });
  signals.uncached_tokens_inflight =
      views.sum([](const View& pod) { return pod.waiting.uncached_tokens; });
  const double passed = views.sum([](const View& pod) { return pod.passed_seconds; });
  const double busy = views.sum([](const View& pod) { return pod.busy_seconds; });
  signals.prefill_utilisation = passed > 0.0 ? within(busy / passed, 0.0, 1.0) : 0.0;
  signals.kv_usage = views.mean_of([](const View& pod) { return pod.kv_usage; });
  signals.running = views.sum([](const View& pod) { return pod.running; });

  const double ttft = to_seconds(scale.ttft.value_or(kDefaultTtft));
  const double queue = ttft > 0.0 ? signals.queue_seconds / ttft : 0.0;
  const double slots = views.mean_of([](const View& pod) {
    const double demand = std::max(pod.in_flight, pod.running + pod.queued);
    return within(demand / pod.max_running, 0.0, kMostFull);
  });
  signals.saturation = std::max({signals.kv_usage, slots, queue});
  if (!decodes) {
    signals.saturation = std::max(signals.saturation, signals.prefill_utilisation);
    return signals;
  }
  const double tpot = scale.tpot ? to_seconds(*scale.tpot) : 0.0;
  if (!(tpot > 0.0)) return signals;
  const auto step = [&model](const View& pod) {
    return predicted_step_seconds(model, pod.pod, std::max(pod.decodes, pod.running),
                                  std::max(pod.reserved, pod.kv_usage * pod.capacity));
  };
  for (const View& pod : views.pods()) {
    signals.tpot_headroom =
        std::min(signals.tpot_headroom, within(1.0 - step(pod) / tpot, -1.0, 1.0));
  }
  const double used =
      views.mean_of([&](const View& pod) { return used_of_tpot(model, pod.pod, step(pod), tpot); });
  signals.saturation = std::max(signals.saturation, used);
  return signals;
}

PoolAverages ScalingSignals::averages(const Snapshot& snapshot, const SignalScale& scale,
                                      TimePoint now) const {
  const auto any = [](Role) { return true; };
  const Views views = views_of(snapshot, any, scale, now);
  PoolAverages averages;
  averages.ready_pods = views.count();
  averages.kv_usage = views.mean_of([](const View& pod) { return pod.kv_usage; });
  averages.queued = views.mean_of([](const View& pod) { return pod.queued + pod.deferred; });
  averages.running = views.mean_of([](const View& pod) { return pod.running; });
  return averages;
}

}  // namespace baton::orchestrator
