#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/summary.h"
#include "orchestrator/bench/results/terminal_text.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kIndent = 11;
constexpr std::size_t kBarColumns = 40;
constexpr std::int64_t kFewestForP99 = 100;

struct MetricRow {
  const char* name;
  const char* words;
  const char* definition;
};
constexpr std::array<MetricRow, 4> kMetrics = {{
    {"ttft", "TTFT", "sent to first non-empty token"},
    {"tpot", "TPOT", "(last - first token) / (tokens - 1)"},
    {"itl", "ITL", "gaps between events with tokens, pooled"},
    {"e2el", "E2EL", "sent to last token"},
}};

// A line or more, begun by its subject.
std::string topic(const Style& style, std::string_view subject, std::string_view text) {
  const std::string head = fmt::format("{:<{}}", subject, kIndent);
  std::string lines = paragraph(head, text, kIndent);
  return lines.replace(0, head.size(), style.bold(head));
}

std::string load_text(const Json& summary) {
  const Json& rate = summary.at("request_rate");
  const Json& limit = summary.at("max_concurrency");
  if (summary.contains("ramp_up_strategy")) {
    return fmt::format("{} ramp from {:g} to {:g} requests/s", text_of(summary, "ramp_up_strategy"),
                       number_of(summary, "ramp_up_start_rps"),
                       number_of(summary, "ramp_up_end_rps"));
  }
  if (!rate.is_number()) {
    return limit.is_null() ? "all at once" : fmt::format("closed loop, {} in flight", limit.dump());
  }
  std::string text = fmt::format("{:g} requests/s", rate.get<double>());
  const Json& burstiness = summary.at("burstiness");
  if (burstiness.is_string()) {
    text += ", constant gaps";
  } else if (burstiness.is_number()) {
    const double shape = burstiness;
    text += shape == 1 ? ", Poisson" : fmt::format(", gamma gaps of burstiness {:g}", shape);
  }
  if (!limit.is_null()) text += fmt::format(", at most {} in flight", limit.dump());
  return text;
}

std::string prompts_text(const Json& baton) {
  std::string text = text_of(baton, "prompt_source");
  const Json& error = baton.at("prompt_error");
  if (text.empty() || count_of(error, "sampled") == 0) return text;
  return text + fmt::format(" ({} checked, at most {} tokens off)",
                            with_commas(count_of(error, "sampled")),
                            with_commas(count_of(error, "max_tokens_off")));
}

std::string head(const Json& summary, const Style& style) {
  const Json& baton = summary.at("baton");
  std::string out =
      topic(style, "target",
            fmt::format("{}, model {}", text_of(baton, "target"), text_of(summary, "model_id")));
  const auto workload = text_of(baton, "workload");
  if (!workload.empty()) out += topic(style, "workload", workload);
  const auto prompts = prompts_text(baton);
  if (!prompts.empty()) out += topic(style, "prompts", prompts);
  out += topic(style, "load",
               fmt::format("{}; measured {:.2f} s, seed {}", load_text(summary),
                           number_of(summary, "duration"), count_of(baton, "seed")));
  return out;
}

std::string failure_line(const Json& failure) {
  const auto status = count_of(failure, "status");
  const std::string reason = text_of(failure, "reason");
  return fmt::format("  {:>8}  {:<14}{:<54}first at {:.1f} s\n",
                     with_commas(count_of(failure, "count")), clip(text_of(failure, "outcome"), 13),
                     clip(reason.empty() && status != 0 ? std::to_string(status) : reason, 53),
                     number_of(failure, "first_at_s"));
}

std::string requests(const Json& summary, const Style& style) {
  const Json& outcomes = summary.at("baton").at("outcomes");
  std::string text =
      fmt::format("{} completed, {} failed", with_commas(count_of(summary, "completed")),
                  with_commas(count_of(summary, "failed")));
  for (const char* other : {"left", "unfinished"}) {
    if (const auto count = count_of(outcomes, other); count > 0) {
      text += fmt::format(", {} {}", with_commas(count), other);
    }
  }
  text += fmt::format(" of {}; {:.2f} completed/s, at most {} at once",
                      with_commas(count_of(summary, "num_prompts")),
                      number_of(summary, "request_throughput"),
                      with_commas(count_of(summary, "max_concurrent_requests")));
  std::string out = topic(style, "requests", text);
  for (const Json& failure : summary.at("baton").at("failures")) out += failure_line(failure);
  return out;
}

std::string tokens(const Json& summary, const Style& style) {
  return topic(style, "tokens",
               fmt::format("{} in, {} out; {:.1f} out/s, {:.0f} in the fullest second",
                           with_commas(count_of(summary, "total_input_tokens")),
                           with_commas(count_of(summary, "total_output_tokens")),
                           number_of(summary, "output_throughput"),
                           number_of(summary, "max_output_tokens_per_s")));
}

std::string figures_line(const Style& style, std::string_view name,
                         const std::array<double, 4>& values, std::string_view definition) {
  return fmt::format("{:<{}}{:>11.2f}{:>11.2f}{:>11.2f}{:>11.2f}  {}\n", name, kIndent, values[0],
                     values[1], values[2], values[3], style.dim(definition));
}

std::string metric_line(const Json& summary, const Style& style, const MetricRow& metric) {
  const Json& baton = summary.at("baton");
  if (is_unmeasured(summary, metric.name)) {
    return fmt::format("{:<{}}{:>11}{:>11}{:>11}{:>11}  {}\n", metric.words, kIndent, "-", "-", "-",
                       "-", style.dim(metric.definition));
  }
  const auto key = [&](const char* figure) { return fmt::format("{}_{}_ms", figure, metric.name); };
  const Json& cdf = baton.at("cdf").at(metric.name);
  return figures_line(
      style, metric.words,
      {number_of(summary, key("mean")), number_of(summary, key("median")), cdf.at(90), cdf.at(99)},
      metric.definition);
}

std::string schedule_line(const Json& baton, const Style& style, const char* metric,
                          const char* definition) {
  const Json& values = baton.at("from_schedule").at(metric);
  if (values.is_null()) return {};
  return figures_line(style, "  from due",
                      {number_of(values, "mean"), number_of(values, "median"),
                       number_of(values, "p90"), number_of(values, "p99")},
                      definition);
}

std::string latencies(const Json& summary, const Style& style) {
  const Json& baton = summary.at("baton");
  std::string out = style.bold(fmt::format("{:<{}}{:>11}{:>11}{:>11}{:>11}", "ms", kIndent, "mean",
                                           "median", "p90", "p99")) +
                    "\n";
  for (const MetricRow& metric : kMetrics) {
    out += metric_line(summary, style, metric);
    const std::string_view name = metric.name;
    if (name == "ttft") out += schedule_line(baton, style, "ttft", "due to first non-empty token");
    if (name == "e2el") out += schedule_line(baton, style, "e2el", "due to last token");
  }
  const auto completed = count_of(summary, "completed");
  if (completed > 0 && completed < kFewestForP99) {
    out += paragraph(
        "",
        fmt::format("With {} completed requests a p99 is little more than the worst.", completed),
        0);
  }
  return out;
}

std::string goodput(const Json& summary, const Style& style) {
  const Json& baton = summary.at("baton");
  if (!baton.contains("goodput")) return {};
  const Json& json = baton.at("goodput");
  const Json& missed = json.at("missed");
  std::string text = fmt::format("{:.2f} requests/s; {:.1f} % of {} offered kept {}",
                                 number_of(json, "requests_per_s"), number_of(json, "share") * 100,
                                 with_commas(count_of(json, "offered")), slo_text(json.at("slo")));
  if (count_of(json, "good") < count_of(json, "offered")) {
    text +=
        fmt::format("; missed: ttft {}, tpot {}, e2el {}, failed {}", count_of(missed, "ttft"),
                    count_of(missed, "tpot"), count_of(missed, "e2el"), count_of(missed, "failed"));
  }
  return topic(style, "goodput", text);
}

std::string stage_line(std::string name, double mean, double whole) {
  std::ranges::replace(name, '_', ' ');
  const double share = whole > 0 ? mean / whole : 0;
  const std::string blocks = bar(share, kBarColumns);
  return fmt::format("  {:<18}{:>10.2f}{:>6.0f} %{}{}\n", name, mean, share * 100,
                     blocks.empty() ? "" : "  ", blocks);
}

std::string names_text(const Json& counts) {
  constexpr std::size_t kMostNames = 16;
  std::string text;
  std::size_t named = 0;
  for (const auto& [name, count] : counts.items()) {
    if (named++ == kMostNames) {
      return text + fmt::format(" and {} more", counts.size() - kMostNames);
    }
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, with_commas(count));
  }
  return text;
}

std::string handoff_text(const Json& split) {
  const Json& kv = split.at("kv_bytes");
  std::string text = fmt::format("KV {}, {} a request", bytes_text(number_of(kv, "total")),
                                 bytes_text(number_of(kv, "mean")));
  const auto transports = names_text(split.at("transports"));
  if (!transports.empty()) text += " over " + transports;
  text += fmt::format("; {} decode-only; {:.0f} % of the input cached; {} retries",
                      with_commas(count_of(split, "decode_only")),
                      number_of(split.at("cached_tokens"), "share_of_input") * 100,
                      with_commas(count_of(split, "retries")));
  return text;
}

std::string split(const Json& summary, const Style& style) {
  const Json& baton = summary.at("baton");
  if (!baton.contains("split")) return {};
  const Json& json = baton.at("split");
  std::string out;
  if (const double whole = number_of(json, "mean_ttft_ms"); whole > 0) {
    out += topic(style, "TTFT split",
                 fmt::format("mean of {} requests, {:.2f} ms, stage after stage",
                             with_commas(count_of(json, "requests")), whole));
    for (const auto& [name, figures] : json.at("stages_ms").items()) {
      out += stage_line(name, number_of(figures, "mean"), whole);
    }
    if (const Json& queue = json.at("concurrent_ms").at("decode_queue"); queue.is_object()) {
      out +=
          fmt::format("  beside the prefill: decode queue {:.2f} ms\n", number_of(queue, "mean"));
    }
  }
  out += topic(style, "hand-off", handoff_text(json));
  const auto prefill = names_text(json.at("prefill_pods"));
  out += topic(style, "pods",
               fmt::format("{}{}decode {}", prefill.empty() ? "" : "prefill " + prefill,
                           prefill.empty() ? "" : "; ", names_text(json.at("decode_pods"))));
  return out;
}

std::string interval_line(const Json& intervals, std::string_view key, std::string_view unit) {
  const auto interval = intervals.find(key);
  if (interval == intervals.end()) return {};
  return fmt::format("  {:<24}{:>11.2f}  [{:.2f}, {:.2f}] {}\n", key, number_of(*interval, "mean"),
                     number_of(*interval, "low"), number_of(*interval, "high"), unit);
}

std::string repeats(const Json& summary, const Style& style) {
  const Json& baton = summary.at("baton");
  if (!baton.contains("intervals")) return {};
  const Json& intervals = baton.at("intervals");
  std::string out = topic(style, "repeats",
                          fmt::format("{}; means with their 95 % intervals (the rest is of the "
                                      "repeat with the middle median TTFT)",
                                      baton.at("repeats").size()));
  for (const MetricRow& metric : kMetrics) {
    for (const char* figure : {"mean", "median", "p99"}) {
      out += interval_line(intervals, fmt::format("{}_{}_ms", figure, metric.name).c_str(), "ms");
    }
  }
  out += interval_line(intervals, "request_throughput", "/s");
  out += interval_line(intervals, "output_throughput", "tokens/s");
  out += interval_line(intervals, "request_goodput", "/s");
  return out;
}

std::string generator_text(const Json& generator) {
  const Json& lag = generator.at("send_lag_ms");
  std::string text;
  if (lag.is_object()) {
    text = fmt::format("sent {:.2f} ms late at p99, {:.2f} ms at most; ", number_of(lag, "p99"),
                       number_of(lag, "max"));
  }
  return text + fmt::format("its loop stood still for {:.1f} ms at most; {:.0f} % of a core",
                            number_of(generator, "loop_lag_max_ms"),
                            number_of(generator, "cpu_share") * 100);
}

std::string verdict(const Json& baton, const Style& style) {
  std::string out = topic(style, "generator", generator_text(baton.at("generator")));
  if (baton.at("sound").get<bool>()) {
    out += topic(style, "sound", "the generator was not the bottleneck");
  } else {
    std::string because = "because";
    const char* separator = " ";
    for (const Json& reason : baton.at("unsound_reasons")) {
      because += separator + reason.get<std::string>();
      separator = "; ";
    }
    const std::string word = fmt::format("{:<{}}", "UNSOUND", kIndent);
    out += paragraph(word, because, kIndent);
    out.replace(out.rfind(word), word.size(), style.alarm(word));
  }
  if (baton.at("partial").get<bool>()) {
    out += topic(style, "PARTIAL", "the run was stopped before its end");
  }
  return out;
}

}  // namespace

std::string render_table(const Json& summary, bool color) {
  const Style style(color);
  std::string out;
  for (const std::string& part :
       {head(summary, style) + requests(summary, style) + tokens(summary, style),
        latencies(summary, style), goodput(summary, style), split(summary, style),
        repeats(summary, style), verdict(summary.at("baton"), style)}) {
    if (!out.empty() && !part.empty()) out += '\n';
    out += part;
  }
  return out;
}

}  // namespace baton::orchestrator::bench
