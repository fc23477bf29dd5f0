#include "adapters/engines/llama_cpp/pod_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "adapters/engines/llama_cpp/pod_response.h"

namespace baton::adapters {
namespace {

const MetricSpec& spec_of(std::string_view name) {
  return *std::ranges::find(kPodMetrics, name, &MetricSpec::name);
}

std::string label_value(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += ',';
    out += label_value(name);
  }
  return out;
}

}  // namespace

PodMetrics::PodMetrics(Metrics& registry, std::string model_name)
    : registry_(registry),
      model_name_(std::move(model_name)),
      first_token_(registry.histogram(spec_of("vllm:time_to_first_token_seconds"), {model_name_})),
      inter_token_(registry.histogram(spec_of("vllm:inter_token_latency_seconds"), {model_name_})),
      stopped_(counter("vllm:request_success_total", {model_name_, "stop"})),
      cut_(counter("vllm:request_success_total", {model_name_, "length"})),
      slow_clients_(counter("baton_pod_slow_clients_total", {})) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  gauge("process_start_time_seconds", {}).Set(std::chrono::duration<double>(now).count());
}

prometheus::Gauge& PodMetrics::gauge(std::string_view name, const LabelValues& values) {
  return registry_.gauge(spec_of(name), values);
}

prometheus::Counter& PodMetrics::counter(std::string_view name, const LabelValues& values) {
  return registry_.counter(spec_of(name), values);
}

void PodMetrics::first_token(Duration since_arrival) {
  first_token_.Observe(to_seconds(since_arrival));
}

void PodMetrics::next_token(Duration since_last) { inter_token_.Observe(to_seconds(since_last)); }

void PodMetrics::finished(FinishReason reason) {
  (reason == FinishReason::kStop ? stopped_ : cut_).Increment();
}

void PodMetrics::slow_client() { slow_clients_.Increment(); }

void PodMetrics::watch(const http::ServerStats& server) {
  http_.emplace(registry_, std::vector{&server});
}

void PodMetrics::raise_to(prometheus::Counter& counter, std::int64_t value) {
  const double behind = static_cast<double>(value) - counter.Value();
  if (behind > 0) counter.Increment(behind);
}

std::string PodMetrics::lora_info(const Engine& engine, double now) const {
  const auto [running, waiting] = engine.running_and_waiting_loras();
  // Written here, not registered: a registered series would stay for every set of adapters ever
  // seen.
  return fmt::format(
      "# HELP vllm:lora_requests_info {}\n"
      "# TYPE vllm:lora_requests_info gauge\n"
      "vllm:lora_requests_info{{max_lora=\"{}\",model_name=\"{}\",running_lora_adapters=\"{}\","
      "waiting_lora_adapters=\"{}\"}} {:.3f}\n",
      spec_of("vllm:lora_requests_info").help, engine.options().loras.size(),
      label_value(model_name_), joined(running), joined(waiting), now);
}

std::string PodMetrics::expose(const Engine& engine, double now) {
  const EngineStats& stats = engine.stats();
  const LabelValues model = {model_name_};
  const auto cells = stats.cells_total.load();
  gauge("vllm:num_requests_running", model).Set(stats.running.load());
  gauge("vllm:num_requests_waiting", model).Set(stats.waiting.load());
  gauge("vllm:kv_cache_usage_perc", model)
      .Set(cells == 0
               ? 0.0
               : static_cast<double>(stats.cells_reserved.load()) / static_cast<double>(cells));
  const std::int64_t block = engine.facts().block_tokens.count();
  gauge("vllm:cache_config_info", {model_name_, std::to_string(block),
                                   std::to_string(block == 0 ? 0 : cells / block), "auto", "True"})
      .Set(1);
  raise_to(counter("vllm:prompt_tokens_total", model), stats.prompt_tokens.load());
  raise_to(counter("vllm:generation_tokens_total", model), stats.generated_tokens.load());
  raise_to(counter("vllm:prefix_cache_queries_total", model), stats.prompt_tokens.load());
  raise_to(counter("vllm:prefix_cache_hits_total", model), stats.cached_tokens.load());
  gauge("baton_pod_blocks", {}).Set(static_cast<double>(stats.blocks_total.load()));
  gauge("baton_pod_blocks_used", {}).Set(static_cast<double>(stats.blocks_used.load()));
  gauge("baton_pod_blocks_pinned", {}).Set(static_cast<double>(stats.blocks_pinned.load()));
  raise_to(counter("baton_pod_steps_total", {}), stats.steps.load());
  raise_to(counter("baton_pod_requests_cancelled_total", {}), stats.requests_cancelled.load());
  if (http_) http_->update();
  return registry_.expose() + lora_info(engine, now);
}

}  // namespace baton::adapters
