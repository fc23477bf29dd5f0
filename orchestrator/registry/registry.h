#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/connector.h"
#include "adapters/http/client.h"
#include "core/metrics.h"
#include "core/picking/latency_models.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_index.h"
#include "core/pod.h"
#include "orchestrator/config/config.h"
#include "orchestrator/registry/pod_health.h"
#include "orchestrator/registry/pod_identity.h"
#include "orchestrator/registry/pod_inspection.h"

namespace baton::orchestrator {

// Knows every configured pod: checks its health and reads its metrics (pod_inspection.h), learns
// what it is (pod_identity.h), ejects it and takes it back (pod_health.h), and tells its
// subscribers in immutable snapshots, one for each pool. A pod is checked at once when it is new.
// Of a pod that restarted, what the prefix index believed and what it took are forgotten. Lives on
// the control thread, where all its functions are called; borrows the shared tables, which outlive
// it.
class PodRegistry {
 public:
  using Subscriber = std::function<void(std::shared_ptr<const Snapshot>)>;
  using FindConnector = std::function<const adapters::Connector*(std::string_view)>;

  PodRegistry(boost::asio::io_context& io, LoadTable& loads, PrefixIndex& prefixes,
              LatencyModels& latencies, Metrics& metrics,
              FindConnector find_connector = adapters::find_connector);
  ~PodRegistry();
  PodRegistry(const PodRegistry&) = delete;
  PodRegistry& operator=(const PodRegistry&) = delete;

  // Watches the pods of `config` from now on. Pods that were there before with the same pool, name,
  // role and address keep their state; others are forgotten.
  void apply(std::shared_ptr<const Config> config);

  // Called with each new snapshot, and at once with the latest of each pool. Changes of health and
  // facts are told at once, new load figures within kTick.
  void subscribe(Subscriber subscriber);

  // No new requests for the pod until undrain(). False: no pod has this name.
  bool drain(std::string_view pod);
  bool undrain(std::string_view pod);

  // Every pool has a usable pod for each stage.
  [[nodiscard]] bool ready() const;
  // The latest of each pool, in the order of the configuration.
  [[nodiscard]] std::vector<std::shared_ptr<const Snapshot>> snapshots() const;

  static constexpr Duration kTick = std::chrono::milliseconds(100);
  // Of a probe: a pod that is busy answers a small request after those that came before it.
  static constexpr Duration kProbeLimit = std::chrono::seconds(30);

 private:
  struct Watch;
  struct Pool;
  using WatchPtr = std::shared_ptr<Watch>;

  adapters::http::Task<void> watch_pod(WatchPtr watch);
  adapters::http::Task<void> tick(std::shared_ptr<const bool> alive);

  WatchPtr take_or_add(std::vector<WatchPtr>& before, const PoolConfig& pool, const Pod& pod);
  void forget(Watch& watch);
  // Whether the check was good.
  bool take_look(Watch& watch, PodLook look);
  void take_identity(Watch& watch, IdentityEvent event);
  void begin_probe(const WatchPtr& watch);
  adapters::http::Task<void> probe_pod(WatchPtr watch, PodIdentity::Probe probe);
  void give_probe_back(Watch& watch);
  static void warn_of_misfit(Watch& watch);
  static void warn_of_pairs(Pool& pool, const Watch& watch);
  void settle(Watch& watch, HealthEvent event);
  bool set_draining(std::string_view pod, bool draining);
  std::uint32_t free_index();
  void publish(Pool& pool);
  Pool& pool_of(const Watch& watch);

  boost::asio::io_context& io_;
  LoadTable& loads_;
  PrefixIndex& prefixes_;
  LatencyModels& latencies_;
  Metrics& metrics_;
  FindConnector find_connector_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::deque<std::uint32_t> freed_indexes_;  // longest freed first
  std::uint32_t next_index_ = 0;
  std::uint64_t next_version_ = 1;
  std::vector<Subscriber> subscribers_;
  std::shared_ptr<bool> alive_;  // false once this is gone, for coroutines that wake up after that
};

}  // namespace baton::orchestrator
