#include "orchestrator/serve/router.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <thread>
#include <utility>

#include "core/log.h"
#include "orchestrator/admin/admin_metrics.h"

namespace baton::orchestrator {
namespace {

constexpr int kAdminConnections = 256;
constexpr Bytes kAdminBody{10LL << 20};
constexpr Bytes kBindings{32LL << 20};  // of texts to token chains, where KV events are followed

int thread_count(const Config& config) {
  if (config.threads > 0) return config.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

http::ServerLimits data_limits(const Config& config) {
  http::ServerLimits limits;
  limits.body = config.limits.body;
  limits.header_time = config.limits.header;
  const int threads = thread_count(config);
  limits.connections = (config.limits.connections + threads - 1) / threads;
  return limits;
}

http::ServerLimits admin_limits() {
  http::ServerLimits limits;
  limits.body = kAdminBody;
  limits.connections = kAdminConnections;
  return limits;
}

}  // namespace

Router::Router(asio::io_context& control, std::shared_ptr<const Config> config)
    : control_(control),
      config_(std::move(config)),
      prefixes_(config_->prefix_index),
      bindings_(kBindings),
      kv_events_(prefixes_, metrics_),
      signals_(metrics_, loads_, latencies_),
      drain_timer_(control) {}

Router::~Router() {
  drain_timer_.cancel();
  admin_server_.reset();
  http_metrics_.reset();
  threads_.clear();
}

Result<std::unique_ptr<Router>> Router::start(asio::io_context& control,
                                              std::shared_ptr<const Config> config) {
  std::unique_ptr<Router> router(new Router(control, std::move(config)));
  if (auto bound = router->listen(); !bound) return std::unexpected(bound.error());
  router->run();
  return router;
}

Result<void> Router::listen() {
  for (const Endpoint& endpoint : {config_->listen, config_->admin}) {
    if (auto free = http::Server::check_port_free(endpoint.host, endpoint.port); !free) {
      return std::unexpected(free.error());
    }
  }
  Endpoint endpoint = config_->listen;
  for (int i = 0; i < thread_count(*config_); ++i) {
    auto thread = std::make_unique<IoThread>();
    if (auto bound = thread->listen(endpoint, data_limits(*config_)); !bound) return bound;
    endpoint.port = thread->port();
    threads_.push_back(std::move(thread));
  }
  auto admin =
      http::Server::listen(control_, config_->admin.host, config_->admin.port, admin_limits(),
                           [this](http::Exchange& exchange) { return admin_->handle(exchange); });
  if (!admin) return std::unexpected(admin.error());
  admin_server_ = std::move(*admin);
  return {};
}

void Router::run() {
  const SharedTables shared{loads_, prefixes_, latencies_, metrics_, &bindings_, &sizes_};
  registry_ = std::make_unique<PodRegistry>(control_, loads_, prefixes_, latencies_, metrics_);
  std::vector<const http::ServerStats*> stats;
  for (const auto& thread : threads_) stats.push_back(&thread->stats());
  http_metrics_ = std::make_unique<http::HttpMetrics>(metrics_, std::move(stats));
  admin_ = std::make_unique<Admin>(
      *registry_, shared,
      Admin::Hooks{.drain = [this] { asio::post(control_, [this] { drain(); }); },
                   .before_scrape =
                       [this] {
                         http_metrics_->update();
                         signals_.update(*config_, registry_->snapshots(), Clock::now());
                       }});
  for (const char* result : {"ok", "refused"}) {
    metrics_.counter(admin_metrics::kReloads, {result});
  }
  registry_->subscribe([this](std::shared_ptr<const Snapshot> snapshot) {
    kv_events_.set_snapshot(snapshot);
    signals_.observe(*snapshot, Clock::now());
    admin_context_->set_snapshot(snapshot);
    for (const auto& thread : threads_) thread->set_snapshot(snapshot);
  });
  use(config_);
  for (const auto& thread : threads_) thread->run();
}

void Router::reload(std::shared_ptr<const Config> config) {
  use(std::move(config));
  metrics_.counter(admin_metrics::kReloads, {"ok"}).Increment();
}

void Router::use(std::shared_ptr<const Config> config) {
  config_ = std::move(config);
  const SharedTables shared{loads_, prefixes_, latencies_, metrics_, &bindings_, &sizes_};
  // The new contexts stand before the first snapshot of the new pools comes.
  admin_context_ = std::make_shared<ThreadContext>(control_, config_, shared);
  admin_->set_context(admin_context_);
  for (const auto& thread : threads_) thread->set_config(config_, shared);
  kv_events_.set_config(config_);
  registry_->apply(config_);
}

void Router::count_refused_reload() {
  metrics_.counter(admin_metrics::kReloads, {"refused"}).Increment();
}

Endpoint Router::data_endpoint() const { return {config_->listen.host, threads_.front()->port()}; }

Endpoint Router::admin_endpoint() const { return {config_->admin.host, admin_server_->port()}; }

void Router::drain() {
  if (draining_) {
    hurry();
    return;
  }
  draining_ = true;
  log(LogLevel::kInfo, "draining", {{"timeout_seconds", to_seconds(config_->drain_timeout)}});
  admin_->set_draining();
  for (const auto& thread : threads_) {
    thread->drain([this] { asio::post(control_, [this] { thread_drained(); }); });
  }
  drain_timer_.expires_after(config_->drain_timeout);
  drain_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (!cancelled) hurry();
  });
}

void Router::hurry() {
  log(LogLevel::kWarn, "cutting open requests");
  for (const auto& thread : threads_) thread->hurry();
}

void Router::thread_drained() {
  if (++drained_threads_ < threads_.size()) return;
  drain_timer_.cancel();
  log(LogLevel::kInfo, "drained");
  if (on_drained_) on_drained_();
}

}  // namespace baton::orchestrator
