#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/connector.h"
#include "adapters/http/client.h"
#include "adapters/http/server.h"
#include "core/metrics.h"
#include "core/picking/chain_bindings.h"
#include "core/picking/latency_models.h"
#include "core/picking/learned_sizes.h"
#include "core/picking/output_estimate.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_index.h"
#include "core/pod.h"
#include "orchestrator/config/config.h"
#include "orchestrator/lifecycle/lifecycle_metrics.h"
#include "orchestrator/lifecycle/retry_budget.h"
#include "orchestrator/planning/planner.h"

namespace baton::orchestrator {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Task;

// Random 64-bit words of the kernel, fetched 64 at a time: transfer ids must not be guessable.
// Owned by an io thread.
class SecureRandom {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  result_type operator()();

 private:
  std::array<result_type, 64> words_{};
  std::size_t next_ = words_.size();
};

// What all io threads of the router share; outlives them.
struct SharedTables {
  LoadTable& loads;
  PrefixIndex& prefixes;
  LatencyModels& latencies;
  Metrics& metrics;
  ChainBindings* bindings = nullptr;     // null: text is matched as text alone
  LearnedSizesOfPools* sizes = nullptr;  // null: what a thread learned of sizes is its own
};

// One pool as one io thread sees it.
struct PoolContext {
  PoolContext(asio::io_context& io, const PoolConfig& pool, const adapters::Connector& speaks,
              const SharedTables& shared);

  const PoolConfig& config;
  const adapters::Connector& connector;
  std::unique_ptr<http::Client> client;          // with the pool's timeouts
  std::unique_ptr<http::Client> release_client;  // with short ones: nobody waits for it
  std::shared_ptr<const Snapshot> snapshot;      // never null; empty until the first one came
  LatencyModel& latency;
  Planner planner;
  PoolMetrics metrics;
  OutputEstimate outputs;
  double bytes_per_token = 4.0;  // of prompt text; learned from answers' usage
  bool ratio_known = false;
  ChainBindings* bindings = nullptr;  // null: no need of token chains for text
  std::uint64_t text_space = 0;       // of `bindings`
  int open_lookups = 0;               // of token ids, beside the requests
  TimePoint no_lookup_before{};
  std::list<std::function<void()>> waiting_for_pods;  // called at each new snapshot

  LearnedSizes* sizes = nullptr;  // told to others; null: to nobody

  void learn_ratio(std::size_t text_bytes, Tokens prompt);
  void learn_output(std::int64_t tokens);
  // Estimates sizes as the other threads do: for a context that sees no requests of its own.
  void adopt_sizes();
};

// What a client's `model` names.
struct ModelTarget {
  PoolContext* pool = nullptr;
  std::string lora;          // empty: the base model
  std::string served_model;  // set where the client used an alias
};

// Everything that the requests of one io thread use. Owned by that thread's owner, lives on that
// thread, outlives its requests. A request never leaves its thread, so nothing here is locked.
class ThreadContext {
 public:
  using FindConnector = std::function<const adapters::Connector*(std::string_view)>;

  // `config` was checked: its connectors exist (asserted).
  ThreadContext(asio::io_context& io, std::shared_ptr<const Config> config, SharedTables shared,
                const FindConnector& find_connector = adapters::find_connector);
  ThreadContext(const ThreadContext&) = delete;
  ThreadContext& operator=(const ThreadContext&) = delete;

  // A new view of the pool that it names; wakes requests that wait for a pod. On this thread.
  void set_snapshot(std::shared_ptr<const Snapshot> snapshot);

  // Null where no pool serves `model`.
  [[nodiscard]] const ModelTarget* find_model(std::string_view model) const;
  // The answer of GET /v1/models: models, aliases and adapters of all pools, each id once.
  [[nodiscard]] const std::string& models_json() const { return models_json_; }

  [[nodiscard]] asio::io_context& io() { return io_; }
  [[nodiscard]] const Config& config() const { return *config_; }
  [[nodiscard]] LoadTable& loads() { return shared_.loads; }
  [[nodiscard]] RetryBudget& retry_budget() { return retry_budget_; }
  [[nodiscard]] SecureRandom& random() { return random_; }

  prometheus::Counter& stripped_fields;
  prometheus::Counter& unrouted;
  int open_requests = 0;
  int open_releases = 0;  // hand-offs being given back beside the requests
  int open_lookups = 0;   // token ids being asked for beside the requests

 private:
  void add_model(const std::string& id, const PoolConfig& pool, ModelTarget target);

  asio::io_context& io_;
  std::shared_ptr<const Config> config_;
  SharedTables shared_;
  RetryBudget retry_budget_;
  SecureRandom random_;
  std::map<std::string, std::unique_ptr<PoolContext>, std::less<>> pools_;
  std::map<std::string, ModelTarget, std::less<>> models_;
  std::string models_json_;
};

}  // namespace baton::orchestrator
