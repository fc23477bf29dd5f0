#include "orchestrator/autoscale/signal_exporter.h"

#include <algorithm>

#include "orchestrator/autoscale/autoscale_metrics.h"
#include "orchestrator/lifecycle/lifecycle_metrics.h"

namespace baton::orchestrator {

namespace rows = autoscale_metrics;

SignalScale scale_of(const PoolConfig& pool) {
  SignalScale scale;
  scale.ttft = pool.slo.ttft;
  scale.tpot = pool.slo.tpot;
  scale.fresh_for = 3 * pool.health.interval + pool.health.timeout;
  scale.faded_after = 3 * scale.fresh_for;
  return scale;
}

ScalingSignals& SignalExporter::signals_of(const std::string& pool) {
  return pools_.try_emplace(pool, loads_).first->second;
}

void SignalExporter::observe(const Snapshot& snapshot, TimePoint now) {
  signals_of(snapshot.pool).observe(snapshot, now);
}

void SignalExporter::update(const Config& config,
                            std::span<const std::shared_ptr<const Snapshot>> snapshots,
                            TimePoint now) {
  std::erase_if(pools_, [&](const auto& known) {
    const auto& pools = config.pools;
    if (std::ranges::find(pools, known.first, &PoolConfig::name) != pools.end()) return false;
    write(known.first, Role::kPrefill, {});
    write(known.first, Role::kDecode, {});
    write(known.first, PoolAverages{});
    return true;
  });
  for (const auto& snapshot : snapshots) {
    const auto pool = std::ranges::find(config.pools, snapshot->pool, &PoolConfig::name);
    if (pool == config.pools.end()) continue;
    ScalingSignals& signals = signals_of(pool->name);
    signals.observe(*snapshot, now);
    const SignalScale scale = scale_of(*pool);
    const LatencyModel& model = latencies_.of(pool->name);
    const double waiting = metrics_.gauge(lifecycle_metrics::kWaiting, {pool->name}).Value();
    for (const Role role : {Role::kPrefill, Role::kDecode}) {
      write(pool->name, role,
            signals.of(role, *snapshot, model, scale, static_cast<int>(waiting), now));
    }
    write(pool->name, signals.averages(*snapshot, scale, now));
  }
}

void SignalExporter::write(const std::string& pool, Role role, const RoleSignals& signals) {
  const LabelValues labels{pool, std::string(name_of(role))};
  metrics_.gauge(rows::kReadyPods, labels).Set(signals.ready_pods);
  metrics_.gauge(rows::kQueueSeconds, labels).Set(signals.queue_seconds);
  metrics_.gauge(rows::kUncachedTokens, labels).Set(signals.uncached_tokens_inflight);
  metrics_.gauge(rows::kPrefillUtilisation, labels).Set(signals.prefill_utilisation);
  metrics_.gauge(rows::kKvUsage, labels).Set(signals.kv_usage);
  metrics_.gauge(rows::kRunning, labels).Set(signals.running);
  metrics_.gauge(rows::kSaturation, labels).Set(signals.saturation);
  if (role == Role::kDecode) {
    metrics_.gauge(rows::kTpotHeadroom, labels).Set(signals.tpot_headroom);
  }
}

void SignalExporter::write(const std::string& pool, const PoolAverages& averages) {
  const auto set = [&](const MetricSpec& extension, const MetricSpec& epp, double value) {
    metrics_.gauge(extension, {pool}).Set(value);
    metrics_.gauge(epp, {pool}).Set(value);
  };
  set(rows::kInferencePoolKvUsage, rows::kEppKvUsage, averages.kv_usage);
  set(rows::kInferencePoolQueue, rows::kEppQueue, averages.queued);
  set(rows::kInferencePoolRunning, rows::kEppRunning, averages.running);
  set(rows::kInferencePoolReady, rows::kEppReady, averages.ready_pods);
}

}  // namespace baton::orchestrator
