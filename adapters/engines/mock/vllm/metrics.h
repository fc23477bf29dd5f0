#pragma once

#include <map>
#include <string>
#include <vector>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/prometheus_text.h"

namespace baton::adapters::mock::vllm {

// Of one data-parallel rank.
struct RankMetrics {
  RankMetrics();
  Histogram first_token, inter_token, per_output_token, latency, queue_time, inference_time,
      prefill_time, decode_time, prompt_tokens, generation_tokens, most_generated, computed_tokens,
      max_tokens, n, xfer_time, post_time, xfer_bytes, descriptors;
  std::map<std::string, std::int64_t> finished;  // by reason
  std::int64_t failed_transfers = 0;
  std::int64_t failed_notifications = 0;
  std::int64_t expired = 0;
  std::int64_t notifications_after_expiry = 0;
};

// What GET /metrics of vLLM 0.32.0 says (v1/metrics/loggers.py, kv_connector/v1/nixl/stats.py),
// with its stale series of vllm:lora_requests_info, which stay as they were. Owned by the dress.
class Metrics {
 public:
  explicit Metrics(const PodParts& parts);
  [[nodiscard]] RankMetrics& rank(std::size_t index) { return ranks_[index]; }
  void finished(const Work& work);
  [[nodiscard]] std::string text();

 private:
  void write_engine(PrometheusText& out) const;
  void write_prompt_sources(PrometheusText& out) const;
  void write_requests(PrometheusText& out) const;
  void write_nixl(PrometheusText& out) const;
  void write_loras(PrometheusText& out);
  [[nodiscard]] Labels labels(std::size_t rank) const;

  const PodParts& parts_;
  std::vector<RankMetrics> ranks_;
  std::map<std::pair<std::string, std::string>, double> lora_series_;  // running, waiting: when
};

}  // namespace baton::adapters::mock::vllm
