#include "orchestrator/commands/metrics_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <type_traits>

#include "adapters/engines/llama_cpp/pod_metrics.h"
#include "adapters/http/http_metrics.h"
#include "adapters/kv_events/kv_event_metrics.h"
#include "core/metrics.h"
#include "kv_transfer/kv_metrics.h"
#include "orchestrator/admin/admin_metrics.h"
#include "orchestrator/autoscale/autoscale_metrics.h"
#include "orchestrator/lifecycle/lifecycle_metrics.h"
#include "orchestrator/registry/registry_metrics.h"

namespace baton::orchestrator {
namespace {

std::string_view name_of(MetricType type) {
  switch (type) {
    case MetricType::kCounter: return "counter";
    case MetricType::kGauge: return "gauge";
    case MetricType::kHistogram: return "histogram";
  }
  return "";
}

std::string row(const MetricSpec& spec) {
  std::string labels;
  std::string_view rest = spec.labels;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    labels += fmt::format("{}`{}`", labels.empty() ? "" : ", ", rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return fmt::format("| `{}` | {} | {} | {} |\n", spec.name, name_of(spec.type), labels, spec.help);
}

template <class Table>
std::string section(std::string_view title, const Table& table) {
  std::string out =
      fmt::format("\n## {}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n", title);
  for (const auto& spec : table) {
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(spec)>>) {
      out += row(*spec);
    } else {
      out += row(spec);
    }
  }
  return out;
}

}  // namespace

std::string metrics_reference() {
  std::string out =
      "<!-- Made by `baton check --metrics-reference`; a test compares. -->\n"
      "# Metrics\n\n"
      "The router exports its metrics at `GET /metrics` of its admin port, a pod at `GET /metrics` "
      "of its\nHTTP port, both in Prometheus text format. Units are seconds, bytes and tokens.\n";
  out += section("Router: requests", lifecycle_metrics::kAll);
  out += section("Router: pods", registry_metrics::kAll);
  out += section("Router: scaling signals", autoscale_metrics::kAll);
  out += section("Router: pool averages, as others name them", autoscale_metrics::kAllOfExtension);
  out += section("Router: KV events of pods", adapters::kv_event_metrics::kAll);
  out += section("Router: process", admin_metrics::kAll);
  out += section("HTTP server (router and pods)", adapters::http::kHttpMetrics);
  out += section("Pods of Baton", adapters::kPodMetrics);
  out += section("Pods of Baton: KV hand-off", kv::kKvMetrics);
  return out;
}

}  // namespace baton::orchestrator
