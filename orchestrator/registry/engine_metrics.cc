#include "orchestrator/registry/engine_metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>

namespace baton::orchestrator {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == ':';
}

// A line of the text, consumed from the front.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text) {}

  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) {
      rest_.remove_prefix(1);
    }
  }
  bool take(char wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view take_name() {
    std::size_t length = 0;
    while (length < rest_.size() && is_name_character(rest_[length])) ++length;
    const std::string_view name = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return name;
  }
  // A label's value after its opening quote; nothing where the line ends before the closing one.
  std::optional<std::string> take_quoted() {
    std::string value;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return value;
      if (c != '\\') {
        value += c;
      } else if (!rest_.empty()) {
        value += rest_.front() == 'n' ? '\n' : rest_.front();
        rest_.remove_prefix(1);
      }
    }
    return std::nullopt;
  }
  std::optional<double> take_number() {
    const std::size_t length = std::min(rest_.find_first_of(" \t\r"), rest_.size());
    std::string_view text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    if (text.starts_with('+')) text.remove_prefix(1);
    double number = 0.0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || status != std::errc{} || end != text.data() + text.size()) {
      return std::nullopt;
    }
    return number;
  }

 private:
  std::string_view rest_;
};

std::optional<MetricSample> read_sample(std::string_view text) {
  Line line(text);
  line.skip_blanks();
  MetricSample sample;
  sample.name = line.take_name();
  if (sample.name.empty()) return std::nullopt;
  line.skip_blanks();
  if (line.take('{')) {
    for (line.skip_blanks(); !line.take('}'); line.skip_blanks()) {
      const std::string_view name = line.take_name();
      line.skip_blanks();
      if (name.empty() || !line.take('=')) return std::nullopt;
      line.skip_blanks();
      if (!line.take('"')) return std::nullopt;
      auto value = line.take_quoted();
      if (!value) return std::nullopt;
      sample.labels.emplace_back(name, std::move(*value));
      line.skip_blanks();
      line.take(',');
    }
  }
  line.skip_blanks();
  const auto value = line.take_number();
  if (!value) return std::nullopt;
  sample.value = *value;
  return sample;
}

int to_count(double value) {
  if (!(value > 0.0)) return 0;
  return static_cast<int>(std::min(value, 1e9));
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

enum class Means : std::uint8_t {
  kRunning,
  kWaiting,
  kKvUsage,
  kLoras,
  kBlockSize,  // in tokens
};

// What engines call what we read. Counts add up over the engines and ranks of a pod; of KV in use
// the fullest counts. Waiting is all that no step computes for yet, so in SGLang's split servers
// also what waits for its peer, for room or for KV.
struct Row {
  std::string_view name;
  Means means;
  std::string_view label{};  // empty: whatever labels
  std::string_view value{};
  std::string_view number_in{};  // the label that holds the figure; empty: it is the sample's value
};
constexpr Row kRows[] = {
    {"vllm:num_requests_running", Means::kRunning},
    {"vllm:num_requests_waiting", Means::kWaiting},
    {"vllm:kv_cache_usage_perc", Means::kKvUsage},
    {"vllm:gpu_cache_usage_perc", Means::kKvUsage},  // until 2025
    {"vllm:lora_requests_info", Means::kLoras},
    {"vllm:cache_config_info", Means::kBlockSize, {}, {}, "block_size"},
    {"sglang:num_running_reqs", Means::kRunning},
    {"sglang:num_queue_reqs", Means::kWaiting},
    {"sglang:num_prefill_bootstrap_queue_reqs", Means::kWaiting},
    {"sglang:num_decode_prealloc_queue_reqs", Means::kWaiting},
    {"sglang:num_decode_transfer_queue_reqs", Means::kWaiting},
    {"sglang:token_usage", Means::kKvUsage},
    {"sglang:cache_config_info", Means::kBlockSize, {}, {}, "page_size"},
    {"trtllm_num_requests_running", Means::kRunning},
    {"trtllm_num_requests_waiting", Means::kWaiting},
    {"trtllm_kv_cache_utilization", Means::kKvUsage},
    {"trtllm_kv_cache_tokens_per_block", Means::kBlockSize},
    {"nv_trt_llm_request_metrics", Means::kRunning, "request_type", "scheduled"},
    {"nv_trt_llm_request_metrics", Means::kWaiting, "request_type", "waiting"},
    {"nv_trt_llm_kv_cache_block_metrics", Means::kKvUsage, "kv_cache_block_type", "fraction"},
    {"nv_trt_llm_kv_cache_block_metrics", Means::kBlockSize, "kv_cache_block_type", "tokens_per"},
};
constexpr std::string_view kStartTime = "process_start_time_seconds";

std::uint64_t to_ms_since_1970(double seconds) {
  return seconds > 0.0 && seconds < 1e12 ? static_cast<std::uint64_t>(seconds * 1000) : 0;
}

int count_in(std::string_view text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return to_count(static_cast<double>(number));
}

// The value of lora_requests_info is the time of the observation; the latest series counts, since
// old ones stay in the text.
class LoraInfo {
 public:
  void read(const MetricSample& sample, PodState& state) {
    if (!(sample.value >= latest_)) return;
    latest_ = sample.value;
    state.running_loras = split_names(sample.label("running_lora_adapters"));
    state.waiting_loras = split_names(sample.label("waiting_lora_adapters"));
    const std::string_view most = sample.label("max_lora");
    state.max_loras = 0;
    std::from_chars(most.data(), most.data() + most.size(), state.max_loras);
  }

 private:
  double latest_ = -std::numeric_limits<double>::infinity();
};

}  // namespace

std::string_view MetricSample::label(std::string_view wanted) const {
  for (const auto& [label_name, text] : labels) {
    if (label_name == wanted) return text;
  }
  return {};
}

void for_each_sample(std::string_view text,
                     const std::function<void(const MetricSample&)>& sample) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto read = read_sample(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (read) sample(*read);
  }
}

std::optional<EngineMetrics> read_engine_metrics(std::string_view text) {
  EngineMetrics metrics;
  PodState& state = metrics.state;
  LoraInfo loras;
  bool any = false;
  for_each_sample(text, [&](const MetricSample& sample) {
    if (sample.name == kStartTime) {
      metrics.started_at = to_ms_since_1970(sample.value);
      return;
    }
    const auto row = std::ranges::find_if(kRows, [&sample](const Row& wanted) {
      return sample.name == wanted.name &&
             (wanted.label.empty() || sample.label(wanted.label) == wanted.value);
    });
    if (row == std::end(kRows)) return;
    any = true;
    switch (row->means) {
      case Means::kRunning: state.running += to_count(sample.value); break;
      case Means::kWaiting: state.waiting += to_count(sample.value); break;
      case Means::kKvUsage: {
        const double usage = std::isnan(sample.value) ? 0.0 : std::clamp(sample.value, 0.0, 1.0);
        state.kv_usage = std::max(state.kv_usage, usage);
        break;
      }
      case Means::kLoras: loras.read(sample, state); break;
      case Means::kBlockSize:
        metrics.block_tokens =
            Tokens(row->number_in.empty() ? to_count(sample.value)
                                          : count_in(sample.label(row->number_in)));
        break;
    }
  });
  if (!any) return std::nullopt;
  return metrics;
}

}  // namespace baton::orchestrator
