// The `baton` section of a result file: who measured what, how well, and who failed.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <tuple>
#include <utility>

#include "core/json_fields.h"
#include "orchestrator/bench/generator/soundness.h"
#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

Sample send_lag(const GeneratorStats& generator) {
  return Sample(std::vector<double>(generator.send_lag_ms.begin(), generator.send_lag_ms.end()));
}

Json generator_json(const GeneratorStats& generator) {
  const Sample lag = send_lag(generator);
  Json json = Json::object();
  json["send_lag_ms"] = lag.empty() ? Json()
                                    : Json{{"mean", lag.mean()},
                                           {"p50", lag.median()},
                                           {"p99", lag.percentile(99)},
                                           {"max", lag.max()}};
  json["loop_lag_max_ms"] = generator.loop_lag_max_ms;
  json["cpu_share"] = cpu_share(generator);
  return json;
}

// By how much the server's count of prompt tokens differs from what the workload built.
Json prompt_error_json(const Measured& measured) {
  std::int64_t sampled = 0;
  int most = 0;
  for (const RequestRecord* record : measured.requests) {
    if (!record->usage_reported || record->built_tokens == 0) continue;
    ++sampled;
    most = std::max(most, std::abs(record->prompt_tokens - record->built_tokens));
  }
  return {{"sampled", sampled}, {"max_tokens_off", most}};
}

Json unmeasured_json(const Measured& measured) {
  Json names = Json::array();
  if (measured.ttft.empty()) names.push_back("ttft");
  if (measured.tpot.empty()) names.push_back("tpot");
  if (measured.itl.empty()) names.push_back("itl");
  if (measured.e2el.empty()) names.push_back("e2el");
  return names;
}

Json outcomes_json(const Measured& measured) {
  Json counts = Json::object();
  for (int i = 0; i < kOutcomes; ++i) {
    const auto outcome = static_cast<Outcome>(i);
    const auto count = std::ranges::count_if(
        measured.requests, [outcome](const RequestRecord* r) { return r->outcome == outcome; });
    if (count > 0 || outcome == Outcome::kCompleted) counts[name_of(outcome)] = count;
  }
  return counts;
}

struct FailureCount {
  Outcome outcome{};
  std::string reason;
  unsigned status = 0;
  std::int64_t count = 0;
  Duration first_at = Duration::max();
};

std::vector<FailureCount> failures_of(const Measured& measured) {
  std::map<std::tuple<Outcome, std::string, unsigned>, FailureCount> by_kind;
  for (const RequestRecord* record : measured.requests) {
    if (!is_failure(record->outcome)) continue;
    FailureCount& failure = by_kind[{record->outcome, record->reason, record->status}];
    failure.outcome = record->outcome;
    failure.reason = record->reason;
    failure.status = record->status;
    failure.first_at = std::min(failure.first_at, end_of(*record));
    ++failure.count;
  }
  std::vector<FailureCount> failures;
  for (auto& [kind, failure] : by_kind) failures.push_back(std::move(failure));
  std::ranges::sort(failures, {}, [](const FailureCount& failure) {
    return std::pair(-failure.count, failure.first_at);
  });
  return failures;
}

Json failures_json(const Measured& measured) {
  Json list = Json::array();
  for (const FailureCount& failure : failures_of(measured)) {
    list.push_back({{"outcome", name_of(failure.outcome)},
                    {"reason", text_json(failure.reason)},
                    {"status", failure.status},
                    {"count", failure.count},
                    {"first_at_s", to_seconds(failure.first_at)}});
  }
  return list;
}

struct Group {
  std::int64_t offered = 0;
  std::int64_t completed = 0;
  std::vector<double> ttft_ms;
  std::vector<double> tpot_ms;
};

void add_to(Group& group, const RequestRecord& record) {
  if (is_offered(record.outcome)) ++group.offered;
  if (!record.completed()) return;
  ++group.completed;
  if (const auto ttft = ttft_ms(record)) group.ttft_ms.push_back(*ttft);
  if (const auto tpot = tpot_ms(record)) group.tpot_ms.push_back(*tpot);
}

Json json_of(const std::string& text) { return text_json(text); }
Json json_of(int number) { return number; }

Json median_or_null(std::vector<double>& values) {
  return values.empty() ? Json() : Json(Sample(std::move(values)).median());
}

// Puts `by_<name>` where the requests differ in `field`.
template <class Value>
void put_groups(Json& json, const Measured& measured, const std::string& name,
                Value RequestRecord::* field) {
  std::map<Value, Group> groups;
  for (const RequestRecord* record : measured.requests) add_to(groups[record->*field], *record);
  if (groups.size() < 2) return;
  Json& list = json["by_" + name] = Json::array();
  for (auto& [value, group] : groups) {
    list.push_back({{name, json_of(value)},
                    {"offered", group.offered},
                    {"completed", group.completed},
                    {"median_ttft_ms", median_or_null(group.ttft_ms)},
                    {"median_tpot_ms", median_or_null(group.tpot_ms)}});
  }
}

Json usage_json(const Measured& measured) {
  std::int64_t reported = 0;
  std::int64_t repeated = 0;
  double tokens = 0;
  double events = 0;
  for (const RequestRecord* record : measured.requests) {
    if (record->usage_reports > 1) ++repeated;
    if (!record->completed()) continue;
    if (record->usage_reported) ++reported;
    if (!record->usage_reported || record->token_events == 0) continue;
    tokens += record->output_tokens;
    events += record->token_events;
  }
  return {{"reported", reported},
          {"repeated", repeated},
          {"tokens_per_event", events > 0 ? Json(tokens / events) : Json()}};
}

Json cdf_of(const Sample& sample) {
  Json quantiles = Json::array();
  if (sample.empty()) return quantiles;
  for (int percent = 0; percent <= 100; ++percent) quantiles.push_back(sample.percentile(percent));
  return quantiles;
}

Json cdf_json(const Measured& measured) {
  return {{"ttft", cdf_of(measured.ttft)},
          {"tpot", cdf_of(measured.tpot)},
          {"itl", cdf_of(measured.itl)},
          {"e2el", cdf_of(measured.e2el)},
          {"ttft_from_schedule", cdf_of(measured.ttft_from_schedule)}};
}

bool is_partial(const RunResult& run, const Measured& measured) {
  return run.stopped_early || std::ranges::any_of(measured.requests, [](const RequestRecord* r) {
           return r->outcome == Outcome::kUnfinished;
         });
}

void put_origin(Json& json, const RunResult& run, const Measured& measured,
                const SummaryOptions& options) {
  const std::vector<std::string> reasons =
      unsound_reasons(run.generator, measured.ttft.median(), options.max_concurrency.has_value());
  json["version"] = text_json(options.version);
  json["command"] = text_json(options.command);
  json["seed"] = options.seed;
  json["target"] = text_json(options.target);
  json["sound"] = reasons.empty();
  json["unsound_reasons"] = reasons;
  json["partial"] = is_partial(run, measured);
  json["workload"] = text_json(options.workload);
  json["prompt_source"] = text_json(options.prompt_source);
  json["prompt_error"] = prompt_error_json(measured);
  json["unmeasured"] = unmeasured_json(measured);
  json["definitions"] = definitions_json();
  json["generator"] = generator_json(run.generator);
}

}  // namespace

Json text_json(std::string_view text) { return json_unquote(json_quote(text)); }

Json figures_json(const Sample& sample) {
  if (sample.empty()) return {};
  return {{"mean", sample.mean()},
          {"median", sample.median()},
          {"p90", sample.percentile(90)},
          {"p99", sample.percentile(99)}};
}

Json baton_json(const RunResult& run, const Measured& measured, const SummaryOptions& options,
                const Goodput& goodput) {
  Json json = Json::object();
  put_origin(json, run, measured, options);
  json["from_schedule"] = {{"ttft", figures_json(measured.ttft_from_schedule)},
                           {"e2el", figures_json(measured.e2el_from_schedule)}};
  if (!options.slo.empty()) {
    json["goodput"] =
        goodput_json(goodput, options.slo, measured.per_second(static_cast<double>(goodput.good)));
  }
  json["outcomes"] = outcomes_json(measured);
  json["failures"] = failures_json(measured);
  put_groups(json, measured, "model", &RequestRecord::model);
  put_groups(json, measured, "priority", &RequestRecord::priority);
  json["usage"] = usage_json(measured);
  if (auto split = split_json(measured)) json["split"] = std::move(*split);
  if (options.detailed) json["requests"] = requests_json(measured);
  json["steady"] = steady_json(run.records, options.window);
  json["timeline"] = timeline_json(run.records);
  json["cdf"] = cdf_json(measured);
  return json;
}

}  // namespace baton::orchestrator::bench
