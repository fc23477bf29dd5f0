#include <chrono>

#include "adapters/engines/mock/openai_answers.h"
#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/trtllm/trtllm_dress.h"

namespace baton::adapters::mock::trtllm {
namespace {

// FastAPI's own.
Answer not_found() { return {404, R"({"detail":"Not Found"})"}; }
Answer wrong_method() { return {405, R"({"detail":"Method Not Allowed"})"}; }

constexpr std::string_view kReadable[] = {"/health",      "/health_generate", "/version",
                                          "/v1/models",   "/metrics",         "/prometheus/metrics",
                                          "/server_info", "/perf_metrics"};
constexpr std::string_view kWritable[] = {"/v1/completions", "/v1/chat/completions",
                                          "/kv_cache_events", "/_internal/tokenize"};

template <class Paths>
bool has(const Paths& paths, std::string_view path) {
  return std::find(std::begin(paths), std::end(paths), path) != std::end(paths);
}

}  // namespace

http::Task<Answer> TrtllmDress::other(const http::Request& request) {
  const std::string_view path = request.path();
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (reads ? !has(kReadable, path) : request.method != "POST" || !has(kWritable, path)) {
    co_return has(kReadable, path) || has(kWritable, path) ? wrong_method() : not_found();
  }
  const MockOptions& options = parts_.options;
  if (path == "/health" || path == "/health_generate") {
    const bool bad = parts_.dead || parts_.starting();
    co_return Answer{
        bad ? 503U : 200U,
        bad ? "LLM is unavailable. Please check the server logs for more details." : "",
        {{"content-type", "text/plain; charset=utf-8"}}};
  }
  if (parts_.starting()) co_return unavailable();
  if (path == "/version") co_return Answer{200, dump({{"version", kVersion}})};
  if (path == "/v1/models") {
    const Json card = {{"id", options.model},
                       {"object", "model"},
                       {"created", unix_seconds()},
                       {"owned_by", "tensorrt_llm"}};
    co_return Answer{200, dump({{"object", "list"}, {"data", Json::array({card})}})};
  }
  if (path == "/metrics") co_return iteration_stats();
  if (path == "/prometheus/metrics") {
    co_return Answer{
        200, prometheus(), {{"content-type", "text/plain; version=1.0.0; charset=utf-8"}}};
  }
  if (path == "/server_info") {
    Json params = Json::object();
    if (can_prefill(options.role)) {
      params = {{"ctx_dp_rank", 0},
                {"ctx_info_endpoint",
                 options.side_channel_host + ":" + std::to_string(options.side_channel_port)}};
    }
    co_return Answer{200, dump({{"disaggregated_params", std::move(params)}})};
  }
  if (path == "/perf_metrics" || path == "/kv_cache_events") co_return Answer{200, "[]"};
  auto body = parse_body(request);
  if (!body) co_return std::move(body.error());
  const auto ids = parts_.tokenizer.encode(text_of(*body, "prompt"), true);
  co_return Answer{200, dump({{"count", ids.size()}, {"tokens", ids}})};
}

// serve/openai_server.py, get_iteration_stats: JSON, of each iteration since it was last asked for;
// here of the present one.
Answer TrtllmDress::iteration_stats() const {
  Json list = Json::array();
  for (const auto& rank : parts_.ranks) {
    const auto& engine = rank->engine();
    const auto load = engine.load();
    const auto& pool = engine.pool();
    list.push_back({{"iter", engine.counts().steps},
                    {"numActiveRequests", load.running},
                    {"numQueuedRequests", load.waiting},
                    {"maxNumActiveRequests", parts_.options.model_options.max_num_seqs},
                    {"kvCacheStats",
                     {{"maxNumBlocks", pool.size()},
                      {"freeNumBlocks", pool.free_blocks()},
                      {"usedNumBlocks", pool.used_blocks()},
                      {"tokensPerBlock", pool.block_tokens().count()}}}});
  }
  return {200, dump(list)};
}

// metrics/collector.py, whose labels the server fills in so.
std::string TrtllmDress::prometheus() const {
  const Labels labels = {{"model_name", "undefined"}, {"engine_type", "undefined"}};
  PrometheusText out;
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    out.family(name, "gauge", help);
    out.sample(name, labels, value);
  };
  const RankTotals all = totals_of(parts_.ranks);
  out.family("trtllm_request_success_total", "counter",
             "Count of successfully processed requests.");
  Labels finished = labels;
  finished.emplace_back("finished_reason", "stop");
  out.sample("trtllm_request_success_total", finished, static_cast<double>(succeeded_));
  out.family("trtllm_request_error_total", "counter", "Count of requests that failed.");
  out.sample("trtllm_request_error_total", labels, static_cast<double>(failed_));
  out.family("trtllm_e2e_request_latency_seconds", "histogram",
             "Histogram of end to end request latency in seconds.");
  out.histogram("trtllm_e2e_request_latency_seconds", labels, latency_);
  out.family("trtllm_time_to_first_token_seconds", "histogram",
             "Histogram of time to first token in seconds.");
  out.histogram("trtllm_time_to_first_token_seconds", labels, first_token_);
  gauge("trtllm_num_requests_running", "Number of active requests", all.running);
  gauge("trtllm_num_requests_waiting", "Number of queued requests", all.waiting);
  gauge("trtllm_kv_cache_utilization", "KV cache utilization", all.utilization());
  gauge("trtllm_kv_cache_hit_rate", "KV cache hit rate", all.hit_rate());
  gauge("trtllm_kv_cache_max_blocks", "Maximum number of KV cache blocks", all.blocks);
  gauge("trtllm_kv_cache_free_blocks", "Number of free KV cache blocks",
        all.blocks - all.used_blocks);
  gauge("trtllm_kv_cache_used_blocks", "Number of used KV cache blocks", all.used_blocks);
  gauge("trtllm_kv_cache_tokens_per_block", "Number of tokens in a KV cache block",
        static_cast<double>(parts_.options.model_options.block_tokens.count()));
  return out.take();
}

}  // namespace baton::adapters::mock::trtllm
