#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "adapters/http/server.h"
#include "orchestrator/admin/admin_response.h"
#include "orchestrator/lifecycle/thread_context.h"
#include "orchestrator/registry/registry.h"

namespace baton::orchestrator {

// The admin port: metrics, probes, pods, plan, configuration, drain (docs/admin.md). Owned by the
// router, on the control thread; every answer is made at once, without waiting for anything. It
// sends nothing to pods and never shows a prompt.
class Admin {
 public:
  struct Hooks {
    std::function<void()> drain;          // the router is asked to stop
    std::function<void()> before_scrape;  // brings counts of other owners up to date
  };

  Admin(PodRegistry& registry, SharedTables shared, Hooks hooks);

  // The configuration in force, as this thread's requests would see it.
  void set_context(std::shared_ptr<ThreadContext> context) { context_ = std::move(context); }
  void set_draining();

  // The handler of an http::Server on the control thread.
  [[nodiscard]] Task<void> handle(http::Exchange& exchange);
  [[nodiscard]] AdminResponse answer(const http::Request& request);

 private:
  struct Route {
    std::string_view method;
    std::string_view path;  // "*" stands for one segment
    AdminResponse (Admin::*answer)(const http::Request& request, std::string_view segment);
  };
  static const Route kRoutes[];

  AdminResponse metrics(const http::Request& request, std::string_view segment);
  AdminResponse livez(const http::Request& request, std::string_view segment);
  AdminResponse readyz(const http::Request& request, std::string_view segment);
  AdminResponse pods(const http::Request& request, std::string_view segment);
  AdminResponse drain_pod(const http::Request& request, std::string_view segment);
  AdminResponse undrain_pod(const http::Request& request, std::string_view segment);
  AdminResponse plan_for_model(const http::Request& request, std::string_view segment);
  AdminResponse plan_for_body(const http::Request& request, std::string_view segment);
  AdminResponse config(const http::Request& request, std::string_view segment);
  AdminResponse drain(const http::Request& request, std::string_view segment);

  void update_gauges();

  PodRegistry& registry_;
  SharedTables shared_;
  Hooks hooks_;
  std::shared_ptr<ThreadContext> context_;
  bool draining_ = false;
};

}  // namespace baton::orchestrator
