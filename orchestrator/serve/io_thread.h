#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "adapters/http/server.h"
#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// One of the threads that serve the data port: an io_context, an acceptor of its own, and what its
// requests use. Owned by the Router on the control thread, from where all its functions are called.
// A request that is open when the configuration changes ends with the one that it began with.
class IoThread {
 public:
  IoThread() = default;
  ~IoThread();  // cuts what is still open
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Binds; nothing runs before run().
  [[nodiscard]] Result<void> listen(const Endpoint& endpoint, const http::ServerLimits& limits);
  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] const http::ServerStats& stats() const { return server_->stats(); }
  void run();

  void set_config(std::shared_ptr<const Config> config, SharedTables shared);
  void set_snapshot(std::shared_ptr<const Snapshot> snapshot);

  // Takes nothing new; `drained` runs on this thread once every request has ended.
  void drain(std::function<void()> drained);
  // Cuts what is open; drain()'s callback follows soon.
  void hurry();

 private:
  void retire_context();
  void report_when_quiet(int tries);
  [[nodiscard]] bool quiet() const;

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::shared_ptr<ThreadContext> context_;
  std::vector<std::shared_ptr<ThreadContext>> retired_;  // still used by requests
  asio::steady_timer quiet_timer_{io_};
  std::function<void()> drained_;
  std::unique_ptr<http::Server> server_;
  std::thread thread_;
};

}  // namespace baton::orchestrator
