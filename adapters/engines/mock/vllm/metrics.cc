#include "adapters/engines/mock/vllm/metrics.h"

#include <algorithm>
#include <functional>

#include "adapters/engines/mock/ledger.h"

namespace baton::adapters::mock::vllm {
namespace {

// v1/metrics/loggers.py.
constexpr double kFirstToken[] = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                  0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                  20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
constexpr double kInterToken[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                  0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
constexpr double kLatency[] = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                               5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                               60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr double kTokens[] = {1,   2,    5,    10,   20,    50,    100,   200,
                              500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
constexpr double kCount[] = {1, 2, 5, 10, 20};
// nixl/stats.py.
constexpr double kXfer[] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0};
constexpr double kPost[] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                            0.2,   0.3,   0.5,  0.75,  1.0,  5.0};
constexpr double kBytes[] = {2048.0,      8192.0,      32768.0,      131072.0,
                             524288.0,    2097152.0,   8388608.0,    33554432.0,
                             134217728.0, 536870912.0, 2147483648.0, 8589934592.0};
constexpr double kDescriptors[] = {10,  20,   30,   50,   75,    100,   200,
                                   400, 1000, 2000, 4000, 10000, 20000, 50000};

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ",") + name;
  return all;
}

}  // namespace

RankMetrics::RankMetrics()
    : first_token(kFirstToken),
      inter_token(kInterToken),
      per_output_token(kInterToken),
      latency(kLatency),
      queue_time(kLatency),
      inference_time(kLatency),
      prefill_time(kLatency),
      decode_time(kLatency),
      prompt_tokens(kTokens),
      generation_tokens(kTokens),
      most_generated(kTokens),
      computed_tokens(kTokens),
      max_tokens(kTokens),
      n(kCount),
      xfer_time(kXfer),
      post_time(kPost),
      xfer_bytes(kBytes),
      descriptors(kDescriptors) {
  for (const char* reason : {"stop", "length", "abort", "error", "repetition"})
    finished[reason] = 0;
}

Metrics::Metrics(const PodParts& parts) : parts_(parts), ranks_(parts.ranks.size()) {}

void Metrics::finished(const Work& work) {
  RankMetrics& rank = ranks_[static_cast<std::size_t>(work.wanted.rank)];
  for (const Choice& choice : work.choices) {
    using engine_model::Finish;
    const char* reason = work.left                        ? "abort"
                         : work.failure                   ? "error"
                         : choice.finish == Finish::kStop ? "stop"
                                                          : "length";
    ++rank.finished[reason];
  }
  if (!work.first_token_at || !work.scheduled_at) return;
  const double queue = to_seconds(*work.scheduled_at - work.arrived);
  const double prefill = to_seconds(*work.first_token_at - *work.scheduled_at);
  const double decode = to_seconds(work.last_token_at - *work.first_token_at);
  rank.queue_time.observe(queue);
  rank.prefill_time.observe(prefill);
  rank.decode_time.observe(decode);
  rank.inference_time.observe(prefill + decode);
  rank.first_token.observe(queue + prefill);
  rank.latency.observe(queue + prefill + decode);
  rank.prompt_tokens.observe(work.prompt_tokens());
  const int made = work.completion_tokens();
  rank.generation_tokens.observe(made);
  rank.most_generated.observe(made);
  rank.computed_tokens.observe(std::max(0, work.prompt_tokens() - work.cached_tokens.value_or(0)));
  rank.max_tokens.observe(work.wanted.prompts.front().max_tokens);
  rank.n.observe(work.wanted.n);
  if (made < 2) return;
  const double gap = decode / (made - 1);
  rank.per_output_token.observe(gap);
  for (int i = 1; i < made; ++i) rank.inter_token.observe(gap);
}

Labels Metrics::labels(std::size_t rank) const {
  return {{"engine", std::to_string(rank)}, {"model_name", parts_.options.model}};
}

std::string Metrics::text() {
  PrometheusText out;
  out.family("process_start_time_seconds", "gauge",
             "Start time of the process since unix epoch in seconds.");
  out.sample("process_start_time_seconds", {}, parts_.started_at);
  write_engine(out);
  write_prompt_sources(out);
  write_requests(out);
  write_loras(out);
  // mooncake/stats.py:15: there are none of its transfers yet.
  if (parts_.options.engine != "vllm-mooncake") write_nixl(out);
  return out.take();
}

void Metrics::write_engine(PrometheusText& out) const {
  using engine_model::EngineCounts;
  using engine_model::EngineLoad;
  std::vector<EngineLoad> loads;
  for (const auto& rank : parts_.ranks) loads.push_back(rank->engine().load());
  const auto gauge = [&](const char* name, const char* help,
                         const std::function<double(const EngineLoad&)>& of) {
    out.family(name, "gauge", help);
    for (std::size_t i = 0; i < loads.size(); ++i) out.sample(name, labels(i), of(loads[i]));
  };
  gauge("vllm:num_requests_running", "Number of requests in model execution batches.",
        [](const EngineLoad& load) { return load.running; });
  gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.",
        [](const EngineLoad& load) { return load.waiting; });
  out.family("vllm:num_requests_waiting_by_reason", "gauge",
             "Number of waiting requests by reason.");
  for (std::size_t i = 0; i < loads.size(); ++i) {
    for (const bool deferred : {false, true}) {
      Labels named = labels(i);
      named.emplace_back("reason", deferred ? "deferred" : "capacity");
      out.sample("vllm:num_requests_waiting_by_reason", named,
                 deferred ? loads[i].deferred : loads[i].waiting - loads[i].deferred);
    }
  }
  gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.",
        [](const EngineLoad& load) { return load.kv_usage; });
  out.family("vllm:engine_sleep_state", "gauge", "Engine sleep state.");
  for (std::size_t i = 0; i < loads.size(); ++i) {
    for (const auto& [state, value] : {std::pair{"awake", parts_.sleep_level == 0},
                                       {"weights_offloaded", parts_.sleep_level == 1},
                                       {"discard_all", parts_.sleep_level == 2}}) {
      Labels named = labels(i);
      named.emplace_back("sleep_state", state);
      out.sample("vllm:engine_sleep_state", named, value);
    }
  }
  out.family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const auto& model = parts_.options.model_options;
    out.sample("vllm:cache_config_info",
               {{"block_size", std::to_string(model.block_tokens.count())},
                {"cache_dtype", "auto"},
                {"enable_prefix_caching", model.prefix_caching ? "True" : "False"},
                {"engine", std::to_string(i)},
                {"num_gpu_blocks", std::to_string(model.blocks)}},
               1);
  }
  const auto counter = [&](const char* name, const char* help, std::int64_t EngineCounts::* of) {
    out.family(name, "counter", help);
    for (std::size_t i = 0; i < loads.size(); ++i) {
      out.sample(std::string(name) + "_total", labels(i),
                 static_cast<double>(parts_.ranks[i]->engine().counts().*of));
    }
  };
  counter("vllm:prefix_cache_queries",
          "Prefix cache queries, in terms of number of queried tokens.",
          &EngineCounts::prefix_queries);
  counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.",
          &EngineCounts::prefix_hits);
  counter("vllm:external_prefix_cache_queries",
          "External prefix cache queries from KV connector cross-instance cache sharing, in terms "
          "of number of queried tokens.",
          &EngineCounts::external_queries);
  counter("vllm:external_prefix_cache_hits",
          "External prefix cache hits from KV connector cross-instance cache sharing, in terms of "
          "number of cached tokens.",
          &EngineCounts::external_hits);
  counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.",
          &EngineCounts::preemptions);
  counter("vllm:prompt_tokens", "Number of prefill tokens processed.",
          &EngineCounts::prompt_tokens);
  counter("vllm:generation_tokens", "Number of generation tokens processed.",
          &EngineCounts::generated_tokens);
}

void Metrics::write_prompt_sources(PrometheusText& out) const {
  out.family("vllm:prompt_tokens_cached", "counter",
             "Number of cached prompt tokens (local + external).");
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    const auto& counts = parts_.ranks[i]->engine().counts();
    out.sample("vllm:prompt_tokens_cached_total", labels(i),
               static_cast<double>(counts.prompt_tokens - counts.prompt_computed));
  }
  out.family("vllm:prompt_tokens_by_source", "counter", "Number of prompt tokens by source.");
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    const auto& counts = parts_.ranks[i]->engine().counts();
    const std::int64_t cached = counts.prompt_tokens - counts.prompt_computed;
    const std::int64_t fetched = std::min(cached, counts.external_hits);
    for (const auto& [source, tokens] : {std::pair{"local_compute", counts.prompt_computed},
                                         {"local_cache_hit", cached - fetched},
                                         {"external_kv_transfer", fetched}}) {
      Labels named = labels(i);
      named.emplace_back("source", source);
      out.sample("vllm:prompt_tokens_by_source_total", named, static_cast<double>(tokens));
    }
  }
  for (const char* name : {"vllm:mm_cache_queries", "vllm:mm_cache_hits"}) {
    out.family(name, "counter", "Multi-modal cache, in terms of number of items.");
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      out.sample(std::string(name) + "_total", labels(i), 0);
    }
  }
}

void Metrics::write_requests(PrometheusText& out) const {
  out.family("vllm:request_success", "counter", "Count of successfully processed requests.");
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    for (const auto& [reason, count] : ranks_[i].finished) {
      Labels named = labels(i);
      named.emplace_back("finished_reason", reason);
      out.sample("vllm:request_success_total", named, static_cast<double>(count));
    }
  }
  const auto histogram = [&](const char* name, const char* help, Histogram RankMetrics::* of) {
    out.family(name, "histogram", help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) out.histogram(name, labels(i), ranks_[i].*of);
  };
  histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.",
            &RankMetrics::prompt_tokens);
  histogram("vllm:request_generation_tokens", "Number of generation tokens processed.",
            &RankMetrics::generation_tokens);
  histogram("vllm:request_max_num_generation_tokens",
            "Histogram of maximum number of requested generation tokens.",
            &RankMetrics::most_generated);
  histogram("vllm:request_prefill_kv_computed_tokens",
            "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
            &RankMetrics::computed_tokens);
  histogram("vllm:request_params_n", "Histogram of the n request parameter.", &RankMetrics::n);
  histogram("vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.",
            &RankMetrics::max_tokens);
  histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.",
            &RankMetrics::first_token);
  histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.",
            &RankMetrics::inter_token);
  histogram("vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            &RankMetrics::per_output_token);
  histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.",
            &RankMetrics::latency);
  histogram("vllm:request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.", &RankMetrics::queue_time);
  histogram("vllm:request_inference_time_seconds",
            "Histogram of time spent in RUNNING phase for request.", &RankMetrics::inference_time);
  histogram("vllm:request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.", &RankMetrics::prefill_time);
  histogram("vllm:request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.", &RankMetrics::decode_time);
}

void Metrics::write_loras(PrometheusText& out) {
  if (parts_.options.loras.empty()) return;
  for (const auto& rank : parts_.ranks) {
    const engine_model::EngineLoad load = rank->engine().load();
    lora_series_[{joined(load.running_loras), joined(load.waiting_loras)}] = unix_now();
  }
  out.family("vllm:lora_requests_info", "gauge", "Running stats on lora requests.");
  for (const auto& [names, when] : lora_series_) {
    out.sample("vllm:lora_requests_info",
               {{"max_lora", std::to_string(parts_.options.model_options.max_loras)},
                {"running_lora_adapters", names.first},
                {"waiting_lora_adapters", names.second}},
               when);
  }
}

void Metrics::write_nixl(PrometheusText& out) const {
  const auto histogram = [&](const char* name, const char* help, Histogram RankMetrics::* of) {
    out.family(name, "histogram", help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) out.histogram(name, labels(i), ranks_[i].*of);
  };
  histogram("vllm:nixl_xfer_time_seconds",
            "Histogram of transfer duration for NIXL KV Cache transfers.", &RankMetrics::xfer_time);
  histogram("vllm:nixl_post_time_seconds",
            "Histogram of transfer post time for NIXL KV Cache transfers.",
            &RankMetrics::post_time);
  histogram("vllm:nixl_bytes_transferred",
            "Histogram of bytes transferred per NIXL KV Cache transfers.",
            &RankMetrics::xfer_bytes);
  histogram("vllm:nixl_num_descriptors",
            "Histogram of number of descriptors per NIXL  KV Cache transfers.",
            &RankMetrics::descriptors);
  const auto counter = [&](const char* name, const char* help, std::int64_t RankMetrics::* of) {
    out.family(name, "counter", help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      out.sample(std::string(name) + "_total", labels(i), static_cast<double>(ranks_[i].*of));
    }
  };
  counter(
      "vllm:nixl_num_failed_transfers",
      "Number of failed NIXL KV Cache transfers, including handshake and notification failures.",
      &RankMetrics::failed_transfers);
  counter("vllm:nixl_num_failed_notifications", "Number of failed NIXL KV Cache notifications.",
          &RankMetrics::failed_notifications);
  counter("vllm:nixl_num_kv_expired_reqs", "Number of requests that had their KV expire.",
          &RankMetrics::expired);
  counter("vllm:nixl_num_notifications_after_expiry",
          "Number of completion notifications for requests that were no longer tracked.",
          &RankMetrics::notifications_after_expiry);
}

}  // namespace baton::adapters::mock::vllm
