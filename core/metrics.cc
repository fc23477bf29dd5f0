#include "core/metrics.h"

#include <prometheus/text_serializer.h>

#include <cassert>
#include <map>

namespace baton {
namespace {

std::map<std::string, std::string> labels_of(const MetricSpec& spec, const LabelValues& values) {
  std::map<std::string, std::string> labels;
  std::string_view names = spec.labels;
  for (const std::string& value : values) {
    const std::size_t comma = names.find(',');
    labels.emplace(names.substr(0, comma), value);
    names = comma == std::string_view::npos ? std::string_view() : names.substr(comma + 1);
  }
  assert(names.empty());
  return labels;
}

}  // namespace

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}

prometheus::Counter& Metrics::counter(const MetricSpec& spec, const LabelValues& values) {
  return prometheus::BuildCounter()
      .Name(std::string(spec.name))
      .Help(std::string(spec.help))
      .Register(*registry_)
      .Add(labels_of(spec, values));
}

prometheus::Gauge& Metrics::gauge(const MetricSpec& spec, const LabelValues& values) {
  return prometheus::BuildGauge()
      .Name(std::string(spec.name))
      .Help(std::string(spec.help))
      .Register(*registry_)
      .Add(labels_of(spec, values));
}

prometheus::Histogram& Metrics::histogram(const MetricSpec& spec, const LabelValues& values) {
  return prometheus::BuildHistogram()
      .Name(std::string(spec.name))
      .Help(std::string(spec.help))
      .Register(*registry_)
      .Add(labels_of(spec, values),
           prometheus::Histogram::BucketBoundaries(spec.buckets.begin(), spec.buckets.end()));
}

std::string Metrics::expose() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace baton
