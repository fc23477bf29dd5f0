#include "orchestrator/serve/io_thread.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "orchestrator/lifecycle/request_life.h"

namespace baton::orchestrator {
namespace {

constexpr Duration kQuietPause = std::chrono::milliseconds(10);
constexpr int kQuietTries = 100;

bool is_quiet(const ThreadContext& context) {
  return context.open_requests == 0 && context.open_releases == 0 && context.open_lookups == 0;
}

// Keeps the context for as long as the exchange is handled.
Task<void> handle_in(std::shared_ptr<ThreadContext> context, http::Exchange& exchange) {
  co_await handle(*context, exchange);
}

}  // namespace

IoThread::~IoThread() {
  if (thread_.joinable()) {
    asio::post(io_, [this] {
      if (server_) server_->stop();
      work_.reset();
      io_.stop();
    });
    thread_.join();
  }
  server_.reset();
}

Result<void> IoThread::listen(const Endpoint& endpoint, const http::ServerLimits& limits) {
  auto server = http::Server::listen(
      io_, endpoint.host, endpoint.port, limits,
      [this](http::Exchange& exchange) { return handle_in(context_, exchange); });
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  return {};
}

void IoThread::run() {
  thread_ = std::thread([this] { io_.run(); });
}

void IoThread::set_config(std::shared_ptr<const Config> config, SharedTables shared) {
  asio::post(io_, [this, config = std::move(config), shared] {
    retire_context();
    context_ = std::make_shared<ThreadContext>(io_, config, shared);
  });
}

void IoThread::retire_context() {
  if (context_) retired_.push_back(std::move(context_));
  std::erase_if(retired_,
                [](const auto& context) { return context.use_count() == 1 && is_quiet(*context); });
}

void IoThread::set_snapshot(std::shared_ptr<const Snapshot> snapshot) {
  asio::post(io_, [this, snapshot = std::move(snapshot)] {
    context_->set_snapshot(snapshot);
    for (const auto& context : retired_) context->set_snapshot(snapshot);
  });
}

void IoThread::drain(std::function<void()> drained) {
  asio::post(io_, [this, drained = std::move(drained)]() mutable {
    drained_ = std::move(drained);
    server_->drain([this] { report_when_quiet(kQuietTries); });
  });
}

// Hand-offs are given back beside the requests, shortly after the last of them.
void IoThread::report_when_quiet(int tries) {
  if (quiet() || tries == 0) {
    if (drained_) std::exchange(drained_, nullptr)();
    return;
  }
  quiet_timer_.expires_after(kQuietPause);
  quiet_timer_.async_wait([this, tries](boost::system::error_code cancelled) {
    if (!cancelled) report_when_quiet(tries - 1);
  });
}

bool IoThread::quiet() const {
  return is_quiet(*context_) &&
         std::ranges::all_of(retired_, [](const auto& context) { return is_quiet(*context); });
}

void IoThread::hurry() {
  asio::post(io_, [this] {
    server_->stop();
    report_when_quiet(kQuietTries);
  });
}

}  // namespace baton::orchestrator
