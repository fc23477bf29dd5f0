#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "adapters/http/http_metrics.h"
#include "core/picking/chain_bindings.h"
#include "core/picking/latency_models.h"
#include "core/picking/learned_sizes.h"
#include "orchestrator/admin/admin.h"
#include "orchestrator/autoscale/signal_exporter.h"
#include "orchestrator/registry/kv_event_feeds.h"
#include "orchestrator/registry/registry.h"
#include "orchestrator/serve/io_thread.h"

namespace baton::orchestrator {

// The front door of one process: registry and admin port on the control thread, the data port on
// threads of its own. Owned by a command, which runs `control` and destroys this before it. All
// functions are called on the control thread.
class Router {
 public:
  // Binds both ports and starts the threads. Errors: kInvalidArgument naming the address.
  [[nodiscard]] static Result<std::unique_ptr<Router>> start(asio::io_context& control,
                                                             std::shared_ptr<const Config> config);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  [[nodiscard]] Endpoint data_endpoint() const;  // with the port that was bound
  [[nodiscard]] Endpoint admin_endpoint() const;
  [[nodiscard]] PodRegistry& registry() { return *registry_; }

  // Exchanges pools and pods. What belongs to sockets, threads and memory stays as it was.
  void reload(std::shared_ptr<const Config> config);
  void count_refused_reload();

  // Not ready from now on, takes nothing new; `drained` runs once open requests have ended, or were
  // cut after drain_timeout. Further calls cut them at once. POST /drain on the admin port calls
  // this too; so `on_drained` is set up front.
  void drain();
  void on_drained(std::function<void()> drained) { on_drained_ = std::move(drained); }

 private:
  Router(asio::io_context& control, std::shared_ptr<const Config> config);
  [[nodiscard]] Result<void> listen();
  void run();
  void use(std::shared_ptr<const Config> config);
  void hurry();
  void thread_drained();

  asio::io_context& control_;
  std::shared_ptr<const Config> config_;
  Metrics metrics_;
  LoadTable loads_;
  PrefixIndex prefixes_;
  LatencyModels latencies_;
  ChainBindings bindings_;
  LearnedSizesOfPools sizes_;
  KvEventFeeds kv_events_;
  SignalExporter signals_;
  std::unique_ptr<PodRegistry> registry_;
  std::shared_ptr<ThreadContext> admin_context_;
  std::unique_ptr<Admin> admin_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::unique_ptr<http::HttpMetrics> http_metrics_;  // of the data port
  std::unique_ptr<http::Server> admin_server_;
  asio::steady_timer drain_timer_;
  std::function<void()> on_drained_;
  bool draining_ = false;
  std::size_t drained_threads_ = 0;
};

}  // namespace baton::orchestrator
