#include "adapters/engines/mock/sglang/metrics.h"

#include <utility>

#include "adapters/engines/mock/openai_fields.h"

namespace baton::adapters::mock::sglang {
namespace {

// observability/metrics_collector.py.
constexpr double kFirstToken[] = {0.1, 0.2, 0.4, 0.6, 0.8, 1,  2,   4,   6,
                                  8,   10,  20,  40,  60,  80, 100, 200, 400};
constexpr double kInterToken[] = {0.002, 0.004, 0.006, 0.008, 0.010, 0.015, 0.020, 0.025,
                                  0.030, 0.035, 0.040, 0.060, 0.080, 0.100, 0.200, 0.400,
                                  0.600, 0.800, 1.000, 2.000, 4.000, 6.000, 8.000};
constexpr double kLatency[] = {0.1, 0.2, 0.4, 0.6, 0.8, 1,   2,   4,   6,    8,    10,
                               20,  40,  60,  80,  100, 200, 400, 600, 1200, 1800, 2400};
constexpr double kQueue[] = {0.000, 0.001, 0.005, 0.010, 0.050, 0.100, 0.200, 0.500, 1,    2,
                             3,     4,     5,     10,    15,    20,    30,    40,    50,   60,
                             70,    80,    90,    100,   200,   300,   400,   500,   600,  700,
                             800,   900,   1000,  1200,  1400,  1600,  1800,  2000,  2500, 3000};
constexpr double kTransferMs[] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000};
constexpr double kTransferMb[] = {1, 5, 10, 50, 100, 500, 1000, 5000, 10000};

constexpr double kMib = 1024.0 * 1024.0;

std::string_view engine_type(Role role) {
  switch (role) {
    case Role::kPrefill: return "prefill";
    case Role::kDecode: return "decode";
    case Role::kBoth: return "unified";
  }
  return "unified";
}

}  // namespace

std::string_view mode_of(Role role) {
  switch (role) {
    case Role::kPrefill: return "prefill";
    case Role::kDecode: return "decode";
    case Role::kBoth: return "null";
  }
  return "null";
}

Metrics::Metrics(const PodParts& parts)
    : parts_(parts),
      first_token_(kFirstToken),
      inter_token_(kInterToken),
      latency_(kLatency),
      queue_time_(kQueue),
      transfer_ms_(kTransferMs),
      transfer_mb_(kTransferMb) {}

Labels Metrics::labels() const {
  return {{"model_name", parts_.options.model},
          {"engine_type", std::string(engine_type(parts_.options.role))},
          {"tp_rank", "0"},
          {"pp_rank", "0"},
          {"moe_ep_rank", "0"}};
}

void Metrics::finished(const Work& work) {
  ++requests_;
  if (work.left || work.failure) ++aborted_;
  prompt_tokens_ += work.prompt_tokens();
  cached_tokens_ += work.cached_tokens.value_or(0);
  generated_tokens_ += work.completion_tokens();
  if (!work.first_token_at || !work.scheduled_at) return;
  const int made = work.completion_tokens();
  queue_time_.observe(to_seconds(*work.scheduled_at - work.arrived));
  first_token_.observe(to_seconds(*work.first_token_at - work.arrived));
  latency_.observe(to_seconds(work.last_token_at - work.arrived));
  if (made > 1) {
    inter_token_.observe(to_seconds(work.last_token_at - *work.first_token_at) / (made - 1));
  }
}

void Metrics::transferred(Bytes bytes, Duration took) {
  transfer_ms_.observe(to_seconds(took) * 1000.0);
  transfer_mb_.observe(static_cast<double>(bytes.count()) / kMib);
}

std::string Metrics::text(const Json& waiting) const {
  PrometheusText out;
  write_scheduler(out, waiting);
  write_requests(out);
  return out.take();
}

void Metrics::write_scheduler(PrometheusText& out, const Json& waiting) const {
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    out.family(name, "gauge", help);
    out.sample(name, labels(), value);
  };
  const RankTotals all = totals_of(parts_.ranks);
  const auto block = static_cast<double>(parts_.options.model_options.block_tokens.count());
  gauge("sglang:num_running_reqs", "The number of running requests.", all.running);
  gauge("sglang:num_queue_reqs", "The number of requests in the waiting queue.",
        all.waiting - all.deferred);
  gauge("sglang:num_used_tokens", "The number of used tokens.", all.used_blocks * block);
  gauge("sglang:token_usage", "The token usage.", all.utilization());
  gauge("sglang:full_token_usage", "The token usage for full attention layers.", all.utilization());
  gauge("sglang:cache_hit_rate", "The prefix cache hit rate.", all.hit_rate());
  gauge("sglang:max_total_num_tokens", "Maximum total number of tokens in the KV cache pool.",
        all.blocks * block);
  gauge("sglang:page_size", "KV cache page size in tokens.", block);
  gauge("sglang:num_pages", "Number of KV cache pages.", all.blocks);
  gauge("sglang:context_len", "Maximum context length.",
        static_cast<double>(parts_.options.max_model_len.count()));
  const bool decodes = parts_.options.role == Role::kDecode;
  const double met = number_of(waiting, "waiting_for_kv", 0);
  gauge("sglang:num_prefill_bootstrap_queue_reqs",
        "The number of requests in the prefill bootstrap queue.",
        number_of(waiting, "bootstrapping", 0));
  gauge("sglang:num_prefill_inflight_queue_reqs",
        "The number of requests in the prefill inflight queue.",
        number_of(waiting, "pinned_blocks", 0) > 0 ? 1 : 0);
  gauge("sglang:num_decode_prealloc_queue_reqs",
        "The number of requests in the decode prealloc queue.", 0);
  gauge("sglang:num_decode_transfer_queue_reqs",
        "The number of requests in the decode transfer queue.", decodes ? met : 0);
}

void Metrics::write_requests(PrometheusText& out) const {
  const auto counter = [&](std::string_view name, std::string_view help, std::int64_t value) {
    out.family(name, "counter", help);
    out.sample(name, labels(), static_cast<double>(value));
  };
  const auto histogram = [&](std::string_view name, std::string_view help,
                             const Histogram& values) {
    out.family(name, "histogram", help);
    out.histogram(name, labels(), values);
  };
  counter("sglang:num_bootstrap_failed_reqs_total", "The number of bootstrap failed requests.",
          bootstrap_failed_);
  counter("sglang:num_transfer_failed_reqs_total", "The number of transfer failed requests.",
          transfer_failed_);
  histogram("sglang:kv_transfer_latency_ms", "Histogram of KV cache transfer latency in ms.",
            transfer_ms_);
  histogram("sglang:kv_transfer_total_mb", "Histogram of KV cache transfer size in MB.",
            transfer_mb_);
  histogram("sglang:queue_time_seconds", "Histogram of queueing time in seconds.", queue_time_);
  counter("sglang:prompt_tokens_total", "Number of prefill tokens processed.", prompt_tokens_);
  counter("sglang:generation_tokens_total", "Number of generation tokens processed.",
          generated_tokens_);
  counter("sglang:cached_tokens_total",
          "Number of cached prompt tokens by source (device/host/storage).", cached_tokens_);
  counter("sglang:num_requests_total", "Number of requests processed.", requests_);
  counter("sglang:num_aborted_requests_total", "Number of requests aborted.", aborted_);
  histogram("sglang:time_to_first_token_seconds", "Histogram of time to first token in seconds.",
            first_token_);
  histogram("sglang:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.",
            inter_token_);
  histogram("sglang:e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds", latency_);
}

}  // namespace baton::adapters::mock::sglang
