#include "orchestrator/admin/admin.h"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <utility>

#include "core/json_fields.h"
#include "core/log.h"
#include "orchestrator/admin/admin_metrics.h"
#include "orchestrator/admin/plan_answer.h"
#include "orchestrator/admin/pods_json.h"
#include "orchestrator/admin/query.h"
#include "orchestrator/build_info.h"

namespace baton::orchestrator {
namespace {

// The one segment that "*" stands for; nothing where the path is another.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) {
    return path == pattern ? std::optional(std::string_view()) : std::nullopt;
  }
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
      !path.ends_with(after)) {
    return std::nullopt;
  }
  path.remove_prefix(before.size());
  path.remove_suffix(after.size());
  return path.find('/') == std::string_view::npos ? std::optional(path) : std::nullopt;
}

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  statm >> size >> resident;
  return static_cast<double>(resident * ::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void raise_to(prometheus::Counter& counter, double value) {
  if (value > counter.Value()) counter.Increment(value - counter.Value());
}

}  // namespace

const Admin::Route Admin::kRoutes[] = {
    {"GET", "/metrics", &Admin::metrics},         {"GET", "/livez", &Admin::livez},
    {"GET", "/readyz", &Admin::readyz},           {"GET", "/pods", &Admin::pods},
    {"POST", "/pods/*/drain", &Admin::drain_pod}, {"POST", "/pods/*/undrain", &Admin::undrain_pod},
    {"GET", "/plan", &Admin::plan_for_model},     {"POST", "/plan", &Admin::plan_for_body},
    {"GET", "/config", &Admin::config},           {"POST", "/drain", &Admin::drain},
};

Admin::Admin(PodRegistry& registry, SharedTables shared, Hooks hooks)
    : registry_(registry), shared_(shared), hooks_(std::move(hooks)) {
  const BuildInfo& info = build_info();
  shared_.metrics
      .gauge(admin_metrics::kBuildInfo, {std::string(info.version), std::string(info.commit),
                                         std::string(info.compiler), std::string(info.llama_cpp)})
      .Set(1);
  shared_.metrics.gauge(admin_metrics::kDraining).Set(0);
}

void Admin::set_draining() {
  draining_ = true;
  shared_.metrics.gauge(admin_metrics::kDraining).Set(1);
}

Task<void> Admin::handle(http::Exchange& exchange) {
  AdminResponse response = answer(exchange.request());
  http::Fields fields = std::move(response.fields);
  fields.emplace_back("content-type", std::move(response.content_type));
  fields.emplace_back("cache-control", "no-store");
  // A client that left is no matter of ours.
  (void)co_await exchange.send(response.status, std::move(fields), std::move(response.body));
}

AdminResponse Admin::answer(const http::Request& request) {
  std::string allowed;
  for (const Route& route : kRoutes) {
    const auto segment = match(route.path, request.path());
    if (!segment) continue;
    if (request.method == route.method) return (this->*route.answer)(request, *segment);
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
  }
  if (allowed.empty()) return admin_failure(404, "not_found", "the admin port has no such path");
  AdminResponse response =
      admin_failure(405, "method_not_allowed", "this path takes " + allowed + " only");
  response.fields.emplace_back("allow", allowed);
  return response;
}

AdminResponse Admin::metrics(const http::Request&, std::string_view) {
  update_gauges();
  return {200, shared_.metrics.expose(), "text/plain; version=0.0.4; charset=utf-8"};
}

void Admin::update_gauges() {
  if (hooks_.before_scrape) hooks_.before_scrape();
  Metrics& all = shared_.metrics;
  for (const auto& snapshot : registry_.snapshots()) {
    for (const auto& entry : snapshot->pods) {
      const PodLoad& load = shared_.loads.of(entry->index);
      const LabelValues labels{snapshot->pool, entry->pod.name};
      all.gauge(admin_metrics::kInFlight, labels).Set(load.in_flight.load());
      all.gauge(admin_metrics::kUncached, labels)
          .Set(static_cast<double>(load.uncached_prefill_tokens.load()));
      all.gauge(admin_metrics::kReservedKv, labels)
          .Set(static_cast<double>(load.reserved_kv_tokens.load()));
    }
  }
  all.gauge(admin_metrics::kIndexElements).Set(static_cast<double>(shared_.prefixes.elements()));
  all.gauge(admin_metrics::kIndexBytes)
      .Set(static_cast<double>(shared_.prefixes.memory_used().count()));
  raise_to(all.counter(admin_metrics::kIndexEvictions),
           static_cast<double>(shared_.prefixes.evictions()));
  all.gauge(admin_metrics::kResidentBytes).Set(resident_bytes());
  raise_to(all.counter(admin_metrics::kCpuSeconds), cpu_seconds());
}

AdminResponse Admin::livez(const http::Request&, std::string_view) {
  return {200, "{\"live\":true}\n"};
}

AdminResponse Admin::readyz(const http::Request&, std::string_view) {
  if (draining_) return {503, "{\"ready\":false,\"reason\":\"draining\"}\n"};
  if (!registry_.ready()) {
    return {503, "{\"ready\":false,\"reason\":\"a pool lacks a usable pod; see /pods\"}\n"};
  }
  return {200, "{\"ready\":true}\n"};
}

AdminResponse Admin::pods(const http::Request&, std::string_view) {
  return {200, pods_json(registry_.snapshots(), shared_.loads, Clock::now(),
                         {&shared_.latencies, shared_.sizes})};
}

AdminResponse Admin::drain_pod(const http::Request&, std::string_view segment) {
  if (!registry_.drain(segment)) return admin_failure(404, "not_found", "no pod has this name");
  return {200, "{\"pod\":" + json_quote(segment) + ",\"draining\":true}\n"};
}

AdminResponse Admin::undrain_pod(const http::Request&, std::string_view segment) {
  if (!registry_.undrain(segment)) return admin_failure(404, "not_found", "no pod has this name");
  return {200, "{\"pod\":" + json_quote(segment) + ",\"draining\":false}\n"};
}

AdminResponse Admin::config(const http::Request&, std::string_view) {
  return {200, config_to_json(context_->config()) + "\n"};
}

AdminResponse Admin::drain(const http::Request&, std::string_view) {
  hooks_.drain();
  return {202, "{\"draining\":true}\n"};
}

AdminResponse Admin::plan_for_model(const http::Request& request, std::string_view) {
  const auto query = parse_query(request.target);
  if (!query) return admin_failure(400, "invalid_argument", "the query is malformed");
  const auto model = query->find("model");
  const auto tokens = query->find("tokens");
  if (model == query->end() || tokens == query->end()) {
    return admin_failure(
        400, "invalid_argument",
        "GET /plan wants ?model=NAME&tokens=COUNT; POST /plan takes an OpenAI request");
  }
  std::int64_t count = 0;
  const char* end = tokens->second.data() + tokens->second.size();
  const auto [stop, status] = std::from_chars(tokens->second.data(), end, count);
  if (status != std::errc{} || stop != end || count < 1) {
    return admin_failure(400, "invalid_argument", "tokens must be a whole number of at least 1",
                         "tokens");
  }
  return orchestrator::plan_for_size(*context_, model->second, Tokens(count), request.fields);
}

AdminResponse Admin::plan_for_body(const http::Request& request, std::string_view) {
  return orchestrator::plan_for_body(*context_, request.body, request.fields);
}

}  // namespace baton::orchestrator
