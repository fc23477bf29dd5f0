#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/pod_api.h"
#include "adapters/engines/llama_cpp/pod_metrics.h"
#include "adapters/http/server.h"
#include "core/metrics.h"
#include "kv_transfer/node.h"

namespace baton::adapters {

struct PodOptions {
  EngineOptions engine;  // engine_id defaults to `name`
  std::string name;      // empty: the listening address, or a random name where the port is 0
  std::vector<std::string> served_model_names;  // empty: the file's name without .gguf
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string kv_listen;           // host:port of the hand-off service; empty: `host`, any port
  std::string kv_advertise;        // where peers reach it, if not at kv_listen
  kv::TlsFiles kv_tls;             // between pods; empty: none
  int kv_connections = 1;          // to each pod that KV is fetched from over tcp, 1 to 4
  std::string transport = "auto";  // auto: what both sides can; another: that one or none
  http::ServerLimits limits;
};

// One embedded engine with all that makes it a pod: hand-off service, HTTP interface, metrics.
// Owned by the process (or a test) and lives on one io_context, whose thread runs start(), drain()
// and the destructor; the engine and the hand-off service have a thread each. The io_context
// outlives it.
class Pod {
 public:
  // Loads the model (seconds), then listens. Errors: kInvalidArgument or kUnavailable naming the
  // file, the option or the address.
  [[nodiscard]] static Result<std::unique_ptr<Pod>> start(http::asio::io_context& io,
                                                          PodOptions options);
  ~Pod();
  Pod(const Pod&) = delete;
  Pod& operator=(const Pod&) = delete;

  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] const std::string& kv_address() const { return kv_address_; }
  [[nodiscard]] const std::vector<std::string>& model_names() const {
    return options_.served_model_names;
  }
  [[nodiscard]] const EngineStats& stats() const { return engine_->stats(); }

  // Takes nothing new; `drained` runs when every answer has been sent and no lease holds a block,
  // for which it waits no longer than a lease can last.
  void drain(std::function<void()> drained);

 private:
  Pod(http::asio::io_context& io, PodOptions options);
  [[nodiscard]] Result<void> load();
  [[nodiscard]] Result<kv::Node*> start_node(const NodeNeeds& needs);
  void wait_for_leases(TimePoint until, std::function<void()> drained);

  http::asio::io_context& io_;
  PodOptions options_;
  std::string kv_address_;
  Metrics metrics_;
  std::unique_ptr<PodMetrics> pod_metrics_;
  std::unique_ptr<kv::Node> node_;
  std::shared_ptr<Engine> engine_;  // others hold it weakly
  std::unique_ptr<PodApi> api_;
  std::unique_ptr<http::Server> server_;
  http::asio::steady_timer drain_poll_;
};

}  // namespace baton::adapters
