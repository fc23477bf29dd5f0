#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baton {

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram };

// One row of the metrics reference. docs/metrics.md is generated from these rows.
struct MetricSpec {
  std::string_view name;  // with unit suffix, base units (seconds, bytes, total)
  MetricType type;
  std::string_view help;
  std::string_view labels;          // comma-separated names, in order
  std::span<const double> buckets;  // histograms only
};

inline constexpr double kLatencyBuckets[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                             0.25,  0.5,    1.0,   2.5,  5.0,   10.0, 30.0};
inline constexpr double kTransferBuckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                              0.01,   0.025,   0.05,   0.1,   0.5,    2.0};

using LabelValues = std::vector<std::string>;  // in the order of MetricSpec::labels

// The metrics of one process: a prometheus::Registry that hands out instruments by row. References
// stay valid as long as the registry; look them up once and keep them, not once per event. Any
// thread.
class Metrics {
 public:
  Metrics();
  prometheus::Counter& counter(const MetricSpec& spec, const LabelValues& values = {});
  prometheus::Gauge& gauge(const MetricSpec& spec, const LabelValues& values = {});
  prometheus::Histogram& histogram(const MetricSpec& spec, const LabelValues& values = {});
  // Text exposition format 0.0.4.
  [[nodiscard]] std::string expose() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

}  // namespace baton
