#pragma once

#include <cstdint>
#include <string>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/prometheus_text.h"

namespace baton::adapters::mock::sglang {

// What GET /metrics of an SGLang server with --enable-metrics says, as far as routers and
// autoscalers read it (observability/metrics_collector.py). Owned by the dress.
class Metrics {
 public:
  explicit Metrics(const PodParts& parts);
  void finished(const Work& work);
  void bootstrap_failed() { ++bootstrap_failed_; }
  void transfer_failed() { ++transfer_failed_; }
  void transferred(Bytes bytes, Duration took);
  // `waiting` is what Rooms::waiting() says.
  [[nodiscard]] std::string text(const Json& waiting) const;

 private:
  void write_scheduler(PrometheusText& out, const Json& waiting) const;
  void write_requests(PrometheusText& out) const;
  [[nodiscard]] Labels labels() const;

  const PodParts& parts_;
  Histogram first_token_, inter_token_, latency_, queue_time_, transfer_ms_, transfer_mb_;
  std::int64_t requests_ = 0;
  std::int64_t aborted_ = 0;
  std::int64_t prompt_tokens_ = 0;
  std::int64_t cached_tokens_ = 0;
  std::int64_t generated_tokens_ = 0;
  std::int64_t bootstrap_failed_ = 0;
  std::int64_t transfer_failed_ = 0;
};

// The name of the server's --disaggregation-mode.
[[nodiscard]] std::string_view mode_of(Role role);

}  // namespace baton::adapters::mock::sglang
