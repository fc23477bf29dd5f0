#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "core/metrics.h"
#include "core/picking/latency_models.h"
#include "core/picking/pod_load.h"
#include "orchestrator/autoscale/scaling_signals.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

// Writes the scaling signals of every pool to the metrics. Owned by the router, on the control
// thread; borrows metrics, loads and models. A pool that is no longer configured reads as an empty
// one.
class SignalExporter {
 public:
  SignalExporter(Metrics& metrics, LoadTable& loads, LatencyModels& latencies)
      : metrics_(metrics), loads_(loads), latencies_(latencies) {}

  // Of each new snapshot of any pool.
  void observe(const Snapshot& snapshot, TimePoint now);
  // Before the metrics are read. `snapshots`: the latest of each pool.
  void update(const Config& config, std::span<const std::shared_ptr<const Snapshot>> snapshots,
              TimePoint now);

 private:
  ScalingSignals& signals_of(const std::string& pool);
  void write(const std::string& pool, Role role, const RoleSignals& signals);
  void write(const std::string& pool, const PoolAverages& averages);

  Metrics& metrics_;
  LoadTable& loads_;
  LatencyModels& latencies_;
  std::map<std::string, ScalingSignals> pools_;
};

[[nodiscard]] SignalScale scale_of(const PoolConfig& pool);

}  // namespace baton::orchestrator
