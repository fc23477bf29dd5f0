#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/http/http_metrics.h"
#include "core/metrics.h"

namespace baton::adapters {

// vLLM's buckets of the same histograms, so that users' dashboards fit.
inline constexpr double kPodFirstTokenBuckets[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                                   0.1,   0.25,  0.5,  0.75, 1.0,  2.5,  5.0,
                                                   7.5,   10.0,  20.0, 40.0, 80.0};
inline constexpr double kPodInterTokenBuckets[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
                                                   0.3,  0.4,   0.5,  0.75,  1.0, 2.5,  5.0};

// What a pod exports under vLLM's names, and what is its own under baton_pod_.
inline constexpr MetricSpec kPodMetrics[] = {
    {"vllm:num_requests_running",
     MetricType::kGauge,
     "Requests in the running batch.",
     "model_name",
     {}},
    {"vllm:num_requests_waiting",
     MetricType::kGauge,
     "Requests waiting for the batch.",
     "model_name",
     {}},
    {"vllm:kv_cache_usage_perc",
     MetricType::kGauge,
     "Share of the KV cache promised to running requests, 0 to 1.",
     "model_name",
     {}},
    {"vllm:cache_config_info",
     MetricType::kGauge,
     "Block size and count of the KV cache.",
     "model_name,block_size,num_gpu_blocks,cache_dtype,enable_prefix_caching",
     {}},
    {"vllm:time_to_first_token_seconds", MetricType::kHistogram,
     "From a request's arrival to its first token.", "model_name", kPodFirstTokenBuckets},
    {"vllm:inter_token_latency_seconds", MetricType::kHistogram, "Between two tokens of a request.",
     "model_name", kPodInterTokenBuckets},
    {"vllm:prompt_tokens_total",
     MetricType::kCounter,
     "Prompt tokens of admitted requests.",
     "model_name",
     {}},
    {"vllm:generation_tokens_total", MetricType::kCounter, "Tokens made.", "model_name", {}},
    {"vllm:prefix_cache_queries_total",
     MetricType::kCounter,
     "Prompt tokens looked up.",
     "model_name",
     {}},
    {"vllm:prefix_cache_hits_total",
     MetricType::kCounter,
     "Prompt tokens found held.",
     "model_name",
     {}},
    {"vllm:request_success_total",
     MetricType::kCounter,
     "Requests that ended with an answer.",
     "model_name,finished_reason",
     {}},
    {"vllm:lora_requests_info",
     MetricType::kGauge,
     "Adapters with a running or waiting request, as labels; the value is the time.",
     "max_lora,model_name,running_lora_adapters,waiting_lora_adapters",
     {}},
    {"process_start_time_seconds",
     MetricType::kGauge,
     "Unix time of the process's start, by which a router notices another one.",
     "",
     {}},
    {"baton_pod_blocks", MetricType::kGauge, "Slots of the block store.", "", {}},
    {"baton_pod_blocks_used", MetricType::kGauge, "Slots that hold KV.", "", {}},
    {"baton_pod_blocks_pinned",
     MetricType::kGauge,
     "Slots held by a running request or by a lease.",
     "",
     {}},
    {"baton_pod_steps_total", MetricType::kCounter, "Steps of the engine.", "", {}},
    {"baton_pod_requests_cancelled_total",
     MetricType::kCounter,
     "Requests given up before their end, most of them since the client left.",
     "",
     {}},
    {"baton_pod_slow_clients_total",
     MetricType::kCounter,
     "Requests cancelled since their client did not read.",
     "",
     {}},
};

// The metrics of one pod. Owned by it; observations come from its HTTP thread, which also exposes.
class PodMetrics {
 public:
  // `registry` outlives it and may hold others' metrics too, which are exposed with these.
  PodMetrics(Metrics& registry, std::string model_name);

  void first_token(Duration since_arrival);
  void next_token(Duration since_last);
  void finished(FinishReason reason);
  void slow_client();
  // The server whose counts are exposed too; it outlives this.
  void watch(const http::ServerStats& server);

  // Text exposition of the whole registry, with the engine's figures as they are now. `now` is Unix
  // time: vLLM's value of lora_requests_info, by which readers take the newest series.
  [[nodiscard]] std::string expose(const Engine& engine, double now);

 private:
  prometheus::Gauge& gauge(std::string_view name, const LabelValues& values);
  prometheus::Counter& counter(std::string_view name, const LabelValues& values);
  void raise_to(prometheus::Counter& counter, std::int64_t value);
  [[nodiscard]] std::string lora_info(const Engine& engine, double now) const;

  Metrics& registry_;
  std::optional<http::HttpMetrics> http_;
  std::string model_name_;
  prometheus::Histogram& first_token_;
  prometheus::Histogram& inter_token_;
  prometheus::Counter& stopped_;
  prometheus::Counter& cut_;
  prometheus::Counter& slow_clients_;
};

}  // namespace baton::adapters
