#include "orchestrator/registry/engine_metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "orchestrator/registry/exposition.h"

namespace baton::orchestrator {
namespace {

enum class Means : std::uint8_t {
  kRunning,
  kWaiting,
  kWaitingForCapacity,  // where it is told apart: instead of kWaiting
  kDeferred,
  kKvUsage,
  kBlockTokens,
  kBlocks,
  kCapacityTokens,
  kPrefixQueriedTokens,
  kPrefixHitTokens,
  kPrefixHitBlocks,
  kPrefixMissedBlocks,
  kActiveLoras,
  kResidentLora,
  kLoraSlots,
  kLoraSlotsUsed,
  kStartSeconds,
  kCount_,
};

// What engines call what we read, sorted by name. A name may have several rows: a figure a label.
struct Row {
  std::string_view name;
  Means means;
  // Counts add up over the values of this label; of several series with the same value, the
  // largest counts. Empty: all series add up.
  std::string_view rank{};
  std::string_view label{};  // empty: whatever labels
  std::string_view value{};
  std::string_view number_in{};  // the label that holds the figure; empty: it is the sample's value
};

// vLLM 0.32.0, v1/metrics/loggers.py: a series for each engine of a data-parallel server; counters
// with `_total`, which its Rust frontend leaves out of some. kv_cache_usage_perc was
// gpu_cache_usage_perc until 2025. What is deferred waits for KV of another pod or for an adapter
// (`num_requests_waiting_by_reason`, of which `num_requests_waiting` is the sum).
// lora_adapter_loaded and the gauges beside it are those of vLLM pull requests 51433 and 54830.
//
// SGLang, srt/observability/metrics_collector.py: a series for each rank that logs, of which those
// of one dp_rank tell the same. Block size and count were labels of cache_config_info. In the
// bootstrap and transfer queues of split servers requests wait for their peer, in the preallocation
// queue for room.
//
// TensorRT-LLM, tensorrt_llm/metrics/collector.py; its backend in Triton, docs of
// tensorrtllm_backend.
constexpr std::string_view kSglangCache = "sglang:cache_config_info";
constexpr std::string_view kTritonBlocks = "nv_trt_llm_kv_cache_block_metrics";
constexpr std::string_view kTritonKind = "kv_cache_block_type";
constexpr std::string_view kTritonRequests = "nv_trt_llm_request_metrics";
constexpr std::string_view kVllmCache = "vllm:cache_config_info";
constexpr std::string_view kVllmWaiting = "vllm:num_requests_waiting_by_reason";
constexpr Row kRows[] = {
    {kTritonBlocks, Means::kKvUsage, {}, kTritonKind, "fraction"},
    {kTritonBlocks, Means::kBlocks, "model", kTritonKind, "max"},
    {kTritonBlocks, Means::kBlockTokens, {}, kTritonKind, "tokens_per"},
    {kTritonRequests, Means::kRunning, {}, "request_type", "scheduled"},
    {kTritonRequests, Means::kWaiting, {}, "request_type", "waiting"},
    {"process_start_time_seconds", Means::kStartSeconds},
    {kSglangCache, Means::kBlocks, "dp_rank", {}, {}, "num_pages"},
    {kSglangCache, Means::kBlockTokens, {}, {}, {}, "page_size"},
    {"sglang:cached_tokens_total", Means::kPrefixHitTokens},
    {"sglang:lora_pool_slots_total", Means::kLoraSlots, "dp_rank"},
    {"sglang:lora_pool_slots_used", Means::kLoraSlotsUsed, "dp_rank"},
    {"sglang:max_total_num_tokens", Means::kCapacityTokens, "dp_rank"},
    {"sglang:num_decode_prealloc_queue_reqs", Means::kWaiting, "dp_rank"},
    {"sglang:num_decode_transfer_queue_reqs", Means::kDeferred, "dp_rank"},
    {"sglang:num_grammar_queue_reqs", Means::kDeferred, "dp_rank"},
    {"sglang:num_pages", Means::kBlocks, "dp_rank"},
    {"sglang:num_prefill_bootstrap_queue_reqs", Means::kDeferred, "dp_rank"},
    {"sglang:num_queue_reqs", Means::kWaiting, "dp_rank"},
    {"sglang:num_running_reqs", Means::kRunning, "dp_rank"},
    {"sglang:page_size", Means::kBlockTokens},
    {"sglang:prompt_tokens_total", Means::kPrefixQueriedTokens},
    {"sglang:token_usage", Means::kKvUsage},
    {"trtllm_kv_cache_max_blocks", Means::kBlocks},
    {"trtllm_kv_cache_missed_blocks_total", Means::kPrefixMissedBlocks},
    {"trtllm_kv_cache_reused_blocks_total", Means::kPrefixHitBlocks},
    {"trtllm_kv_cache_tokens_per_block", Means::kBlockTokens},
    {"trtllm_kv_cache_utilization", Means::kKvUsage},
    {"trtllm_num_requests_running", Means::kRunning},
    {"trtllm_num_requests_waiting", Means::kWaiting},
    {kVllmCache, Means::kBlockTokens, {}, {}, {}, "block_size"},
    {kVllmCache, Means::kCapacityTokens, "engine", {}, {}, "kv_cache_size_tokens"},
    {kVllmCache, Means::kBlocks, "engine", {}, {}, "num_gpu_blocks"},
    {"vllm:gpu_cache_usage_perc", Means::kKvUsage},
    {"vllm:gpu_prefix_cache_hits_total", Means::kPrefixHitTokens},
    {"vllm:gpu_prefix_cache_queries_total", Means::kPrefixQueriedTokens},
    {"vllm:kv_cache_usage_perc", Means::kKvUsage},
    {"vllm:lora_adapter_loaded", Means::kResidentLora, {}, "level", "gpu"},
    {"vllm:lora_requests_info", Means::kActiveLoras},
    {"vllm:max_gpu_lora_adapters", Means::kLoraSlots, "engine"},
    {"vllm:num_gpu_loaded_lora_adapters", Means::kLoraSlotsUsed, "engine"},
    {"vllm:num_requests_running", Means::kRunning, "engine"},
    {"vllm:num_requests_waiting", Means::kWaiting, "engine"},
    {kVllmWaiting, Means::kWaitingForCapacity, "engine", "reason", "capacity"},
    {kVllmWaiting, Means::kDeferred, "engine", "reason", "deferred"},
    {"vllm:prefix_cache_hits", Means::kPrefixHitTokens},
    {"vllm:prefix_cache_hits_total", Means::kPrefixHitTokens},
    {"vllm:prefix_cache_queries", Means::kPrefixQueriedTokens},
    {"vllm:prefix_cache_queries_total", Means::kPrefixQueriedTokens},
};
static_assert(std::ranges::is_sorted(kRows, {}, &Row::name));

bool is_wanted(std::string_view name) {
  return std::ranges::binary_search(kRows, name, {}, &Row::name);
}

std::int64_t to_count(double value) {
  if (!(value > 0.0)) return 0;
  return static_cast<std::int64_t>(std::min(value, 1e15));
}
int to_int(std::int64_t count) { return static_cast<int>(std::min<std::int64_t>(count, 1e9)); }

double number_in(std::string_view text) {
  double number = 0.0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc{} && end == text.data() + text.size() ? number : 0.0;
}

std::uint64_t to_ms_since_1970(double seconds) {
  return seconds > 0.0 && seconds < 1e12 ? static_cast<std::uint64_t>(seconds * 1000) : 0;
}

std::vector<std::string> split_names(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

// The value of lora_requests_info is the time of the observation; the latest series counts, since
// old ones stay in the text.
class ActiveLoras {
 public:
  void read(const MetricSample& sample, PodState& state) {
    if (!(sample.value >= latest_)) return;
    latest_ = sample.value;
    state.running_loras = split_names(sample.label("running_lora_adapters"));
    state.waiting_loras = split_names(sample.label("waiting_lora_adapters"));
    state.max_loras = to_int(to_count(number_in(sample.label("max_lora"))));
  }

 private:
  double latest_ = -std::numeric_limits<double>::infinity();
};

// One row's figure over the series that are of it.
class Figure {
 public:
  void add(std::string_view rank, bool by_rank, double value) {
    if (!by_rank) {
      sum_ += value;
      return;
    }
    const auto known = std::ranges::find(ranks_, rank, &std::pair<std::string, double>::first);
    if (known == ranks_.end()) {
      ranks_.emplace_back(rank, value);
    } else {
      known->second = std::max(known->second, value);
    }
  }
  [[nodiscard]] double total() const {
    double total = sum_;
    for (const auto& [rank, value] : ranks_) total += value;
    return total;
  }

 private:
  double sum_ = 0.0;
  std::vector<std::pair<std::string, double>> ranks_;
};

// Gathers samples and tells at the end what they come to.
class Reading {
 public:
  void take(const MetricSample& sample) {
    // Where SGLang schedules by priority, series with one are parts of that without.
    if (!sample.label("priority").empty()) return;
    const auto rows = std::ranges::equal_range(kRows, sample.name, {}, &Row::name);
    for (const Row& row : rows) {
      if (row.label.empty() || sample.label(row.label) == row.value) take(row, sample);
    }
  }

  [[nodiscard]] std::optional<EngineMetrics> result() {
    if (!any_) return std::nullopt;
    PodState& state = metrics_.state;
    state.running = to_int(sum_of(Means::kRunning));
    state.deferred = to_int(sum_of(Means::kDeferred));
    state.waiting = to_int(
        sum_of(seen(Means::kWaitingForCapacity) ? Means::kWaitingForCapacity : Means::kWaiting));
    if (seen(Means::kLoraSlots)) state.max_loras = to_int(most_of(Means::kLoraSlots));
    state.lora_slots_used = to_int(most_of(Means::kLoraSlotsUsed));
    const std::int64_t told = most_of(Means::kCapacityTokens);
    state.kv_capacity = Tokens(told > 0 ? told : tokens_in(Means::kBlocks));
    const std::int64_t hit_in_blocks = tokens_in(Means::kPrefixHitBlocks);
    state.prefix_hits = Tokens(most_of(Means::kPrefixHitTokens) + hit_in_blocks);
    state.prefix_queries = Tokens(most_of(Means::kPrefixQueriedTokens) + hit_in_blocks +
                                  tokens_in(Means::kPrefixMissedBlocks));
    return std::move(metrics_);
  }

 private:
  void take(const Row& row, const MetricSample& sample) {
    const double value =
        row.number_in.empty() ? sample.value : number_in(sample.label(row.number_in));
    PodState& state = metrics_.state;
    seen_[static_cast<std::size_t>(row.means)] = true;
    any_ = any_ || row.means != Means::kStartSeconds;
    switch (row.means) {
      case Means::kStartSeconds: metrics_.started_at = to_ms_since_1970(value); break;
      case Means::kKvUsage:
        if (!std::isnan(value))
          state.kv_usage = std::max(state.kv_usage, std::clamp(value, 0., 1.));
        break;
      case Means::kBlockTokens: metrics_.block_tokens = Tokens(to_int(to_count(value))); break;
      case Means::kActiveLoras: active_loras_.read(sample, state); break;
      case Means::kResidentLora: add_resident(sample); break;
      default:
        figures_[static_cast<std::size_t>(&row - kRows)].add(sample.label(row.rank),
                                                             !row.rank.empty(), value);
    }
  }

  void add_resident(const MetricSample& sample) {
    auto& resident = metrics_.state.resident_loras;
    std::string name(sample.label("adapter_name"));
    const bool known = std::ranges::find(resident, name) != resident.end();
    if (sample.value > 0.0 && !name.empty() && !known) resident.push_back(std::move(name));
  }

  [[nodiscard]] bool seen(Means means) const { return seen_[static_cast<std::size_t>(means)]; }
  // Rows that are parts of one figure.
  [[nodiscard]] std::int64_t sum_of(Means means) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < std::size(kRows); ++i) {
      if (kRows[i].means == means) sum += to_count(figures_[i].total());
    }
    return sum;
  }
  // Rows that are names of the same figure.
  [[nodiscard]] std::int64_t most_of(Means means) const {
    std::int64_t most = 0;
    for (std::size_t i = 0; i < std::size(kRows); ++i) {
      if (kRows[i].means == means) most = std::max(most, to_count(figures_[i].total()));
    }
    return most;
  }

  // Of a figure in blocks.
  [[nodiscard]] std::int64_t tokens_in(Means blocks) const {
    const auto tokens =
        static_cast<double>(most_of(blocks)) * static_cast<double>(metrics_.block_tokens.count());
    return to_count(tokens);
  }

  EngineMetrics metrics_;
  ActiveLoras active_loras_;
  std::array<Figure, std::size(kRows)> figures_;
  std::array<bool, static_cast<std::size_t>(Means::kCount_)> seen_{};
  bool any_ = false;
};

}  // namespace

std::optional<EngineMetrics> read_engine_metrics(std::string_view text) {
  Reading reading;
  for_each_sample(text, is_wanted, [&](const MetricSample& sample) { reading.take(sample); });
  return reading.result();
}

}  // namespace baton::orchestrator
