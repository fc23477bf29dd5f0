// The head of a result file: the keys that vLLM's `bench serve` writes, with its formulas
// (vllm/benchmarks/serve.py, calculate_metrics() and benchmark(); 0.32.0).
#include "orchestrator/bench/results/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <ranges>
#include <string>

#include "orchestrator/bench/results/measured.h"
#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

Json number_or_inf(double number) { return std::isinf(number) ? Json("inf") : Json(number); }

Json text_or_null(const std::string& text) { return text.empty() ? Json() : text_json(text); }

// "2025-01-31T08:09:10Z" as vLLM writes a date: "20250131-080910".
std::string compact_date(const std::string& iso) {
  std::string digits;
  std::ranges::copy_if(iso, std::back_inserter(digits),
                       [](unsigned char c) { return std::isdigit(c) != 0; });
  if (digits.size() < 14) return iso;
  return digits.substr(0, 8) + "-" + digits.substr(8, 6);
}

// 99 -> "p99", 99.9 -> "p99.9".
std::string percentile_name(double percent) { return fmt::format("p{}", percent); }

void put_head(Json& summary, const RunResult& run, const SummaryOptions& options,
              std::size_t requests) {
  summary["date"] = compact_date(run.started_at);
  summary["endpoint_type"] = text_json(options.backend);
  summary["backend"] = text_json(options.backend);
  summary["label"] = text_or_null(options.label);
  summary["model_id"] = text_json(options.model);
  summary["tokenizer_id"] = text_or_null(options.tokenizer);
  summary["num_prompts"] = requests;
  for (const auto& [key, value] : options.metadata.items()) summary[key] = value;
  summary["request_rate"] = number_or_inf(options.request_rate);
  summary["burstiness"] = options.burstiness ? number_or_inf(*options.burstiness) : Json();
  summary["max_concurrency"] = options.max_concurrency ? Json(*options.max_concurrency) : Json();
  if (options.ramp) {
    summary["ramp_up_strategy"] = options.ramp->exponential ? "exponential" : "linear";
    summary["ramp_up_start_rps"] = options.ramp->from_rate;
    summary["ramp_up_end_rps"] = options.ramp->to_rate;
  }
}

void put_rates(Json& summary, const Measured& measured, const Goodput& goodput, const Slo& slo) {
  const auto output = static_cast<double>(measured.output_tokens);
  summary["duration"] = measured.duration_s;
  summary["completed"] = measured.completed;
  summary["failed"] = measured.failed;
  summary["total_input_tokens"] = measured.input_tokens;
  summary["total_output_tokens"] = measured.output_tokens;
  summary["request_throughput"] = measured.per_second(static_cast<double>(measured.completed));
  summary["request_goodput"] =
      slo.empty() ? Json() : Json(measured.per_second(static_cast<double>(goodput.good)));
  summary["output_throughput"] = measured.per_second(output);
  summary["total_token_throughput"] =
      measured.per_second(static_cast<double>(measured.input_tokens) + output);
}

void put_detailed(Json& summary, const Measured& measured) {
  const auto list = [&summary](const char* key) -> Json& { return summary[key] = Json::array(); };
  for (const char* key :
       {"input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"}) {
    list(key);
  }
  for (const RequestRecord* record : measured.requests) {
    Json gaps = Json::array();
    for (const std::uint32_t gap : record->gaps_us) gaps.push_back(gap / 1e6);
    const std::string failure =
        record->reason.empty() ? std::string(name_of(record->outcome)) : record->reason;
    summary["input_lens"].push_back(record->prompt_tokens);
    summary["output_lens"].push_back(record->completed() ? record->output_tokens : 0);
    summary["ttfts"].push_back(ttft_ms(*record).value_or(0) / 1e3);
    summary["itls"].push_back(std::move(gaps));
    summary["start_times"].push_back(std::max(0.0, to_seconds(record->sent)));
    summary["generated_texts"].push_back(text_json(record->text));
    summary["errors"].push_back(record->completed() ? Json("") : text_json(failure));
  }
}

void put_metric(Json& summary, const std::string& name, const Sample& sample,
                const std::vector<double>& percentiles) {
  summary["mean_" + name + "_ms"] = sample.mean();
  summary["median_" + name + "_ms"] = sample.median();
  summary["std_" + name + "_ms"] = sample.std();
  for (const double percent : percentiles) {
    summary[percentile_name(percent) + "_" + name + "_ms"] = sample.percentile(percent);
  }
}

std::unexpected<Error> bad_slo(std::string_view bound, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("SLO \"{}\": {}; a bound is ttft, tpot or e2el, a colon and "
                          "milliseconds, as in \"ttft:500 tpot:50\"",
                          bound, why),
              false, "goodput");
}

std::optional<double>* bound_named(Slo& slo, std::string_view name) {
  if (name == "ttft") return &slo.ttft_ms;
  if (name == "tpot") return &slo.tpot_ms;
  if (name == "e2el") return &slo.e2el_ms;
  return nullptr;
}

std::optional<double> milliseconds(std::string_view text) {
  double number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(number) || number < 0) return std::nullopt;
  return number;
}

Result<void> add_bound(Slo& slo, std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return bad_slo(text, "no colon");
  std::optional<double>* const bound = bound_named(slo, text.substr(0, colon));
  if (bound == nullptr) return bad_slo(text, "unknown name");
  if (bound->has_value()) return bad_slo(text, "named twice");
  *bound = milliseconds(text.substr(colon + 1));
  if (!bound->has_value()) return bad_slo(text, "no number of milliseconds, 0 or more");
  return {};
}

}  // namespace

Result<Slo> parse_slo(std::string_view text) {
  constexpr std::string_view kSeparators = " ,\t\n";
  Slo slo;
  std::size_t begin = text.find_first_not_of(kSeparators);
  while (begin != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    if (auto added = add_bound(slo, text.substr(begin, end - begin)); !added) {
      return std::unexpected(std::move(added.error()));
    }
    begin = text.find_first_not_of(kSeparators, end);
  }
  if (slo.empty()) return bad_slo(text, "names no bound");
  return slo;
}

Json summarize(const RunResult& run, const SummaryOptions& options) {
  const Measured measured(run.records, options.window);
  const Goodput goodput = judge(measured, options.slo);
  const Peaks peaks = peaks_of(measured);
  Json summary = Json::object();
  put_head(summary, run, options, measured.requests.size());
  put_rates(summary, measured, goodput, options.slo);
  if (options.detailed) put_detailed(summary, measured);
  summary["max_output_tokens_per_s"] = peaks.output_tokens_per_s;
  summary["max_concurrent_requests"] = peaks.concurrent;
  put_metric(summary, "ttft", measured.ttft, options.percentiles);
  put_metric(summary, "tpot", measured.tpot, options.percentiles);
  put_metric(summary, "itl", measured.itl, options.percentiles);
  put_metric(summary, "e2el", measured.e2el, options.percentiles);
  summary["baton"] = baton_json(run, measured, options, goodput);
  return summary;
}

}  // namespace baton::orchestrator::bench
