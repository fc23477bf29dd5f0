#include "orchestrator/simulate/parameter_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "orchestrator/bad_input.h"
#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/terminal_text.h"
#include "orchestrator/build_info.h"

namespace baton::orchestrator::simulate {
namespace {

Duration seconds(double value) { return std::chrono::duration_cast<Duration>(Seconds(value)); }

std::optional<Duration> bound_ms(double ms) {
  return ms > 0 ? std::optional(seconds(ms / 1e3)) : std::nullopt;
}

// So many pods of a role: its first ones, and more like its last one.
void set_pods(StudyOptions& study, Role role, int count) {
  std::vector<SimulatedPod>& pods = study.system.pods;
  EngineProfile profile = study.profile;
  int kept = 0;
  std::erase_if(pods, [&](const SimulatedPod& pod) {
    if (pod.role != role) return false;
    if (kept == count) return true;
    profile = pod.profile;
    ++kept;
    return false;
  });
  for (; kept < count; ++kept) {
    pods.push_back({fmt::format("{}-{}", name_of(role), kept), role, profile});
  }
}

struct Parameter {
  std::string_view name;
  std::string_view unit;
  double least;
  double most;
  bool is_whole;
  void (*set)(StudyOptions&, double);
};
constexpr double kMostNumber = 1e9;
constexpr std::array kParameters = {
    Parameter{"rate", "requests/s", 1e-6, kMostNumber, false,
              [](StudyOptions& s, double value) { s.load.rate = value; }},
    Parameter{"time-scale", "", 1e-6, 1e6, false,
              [](StudyOptions& s, double value) { s.workload.time_scale = value; }},
    Parameter{"slo-ttft-ms", "ms", 0, kMostNumber, false,
              [](StudyOptions& s, double value) { s.system.slo.ttft = bound_ms(value); }},
    Parameter{"slo-tpot-ms", "ms", 0, kMostNumber, false,
              [](StudyOptions& s, double value) { s.system.slo.tpot = bound_ms(value); }},
    Parameter{"replicas", "routers", 1, kMostReplicas, true,
              [](StudyOptions& s, double value) { s.system.replicas = static_cast<int>(value); }},
    Parameter{"scrape", "s", 0.01, 3600, false,
              [](StudyOptions& s, double value) { s.system.scrape_interval = seconds(value); }},
    Parameter{"prior", "", 0.01, 100, false,
              [](StudyOptions& s, double value) { s.system.prior_factor = value; }},
    Parameter{"jitter", "s", 0, 1e6, false,
              [](StudyOptions& s, double value) { s.jitter = seconds(value); }},
    Parameter{"prefill", "pods", 0, kMostPods, true,
              [](StudyOptions& s, double value) {
                set_pods(s, Role::kPrefill, static_cast<int>(value));
              }},
    Parameter{
        "decode", "pods", 0, kMostPods, true,
        [](StudyOptions& s, double value) { set_pods(s, Role::kDecode, static_cast<int>(value)); }},
    Parameter{
        "both", "pods", 0, kMostPods, true,
        [](StudyOptions& s, double value) { set_pods(s, Role::kBoth, static_cast<int>(value)); }},
};

const Parameter* find_parameter(std::string_view name) {
  const auto found = std::ranges::find(kParameters, name, &Parameter::name);
  return found == kParameters.end() ? nullptr : &*found;
}

std::string parameter_names() {
  std::vector<std::string_view> names;
  std::ranges::transform(kParameters, std::back_inserter(names), &Parameter::name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<double> parse_value(const Parameter& parameter, std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = failure == std::errc() && end == text.data() + text.size();
  const bool fits = is_number && value >= parameter.least && value <= parameter.most &&
                    (!parameter.is_whole || value == std::floor(value));
  if (fits) return value;
  return bad(fmt::format("--sweep {}: '{}' must be a {}number from {:g} to {:g}", parameter.name,
                         text, parameter.is_whole ? "whole " : "", parameter.least,
                         parameter.most));
}

// The figures of a point, in the order of the file, and where a run has them.
struct Figure {
  const char* key;
  const char* section;  // of the run; null: its head
};
constexpr std::array kFigures = {
    Figure{"mean_ttft_ms", nullptr},  Figure{"p99_ttft_ms", nullptr},
    Figure{"mean_tpot_ms", nullptr},  Figure{"p99_tpot_ms", nullptr},
    Figure{"completed", nullptr},     Figure{"failed", nullptr},
    Figure{"reuse", "system"},        Figure{"decode_only_share", "system"},
    Figure{"prefill_busy", "system"}, Figure{"decode_busy", "system"},
};

double mean_of(const std::vector<bench::Json>& runs, const auto& figure_of) {
  double sum = 0;
  for (const bench::Json& run : runs) sum += figure_of(run);
  return sum / static_cast<double>(runs.size());
}

// Null where no request had the figure, in any round.
bench::Json figure_json(const std::vector<bench::Json>& runs, const Figure& figure) {
  const std::string_view key = figure.key;
  if (key.ends_with("_ms")) {
    const std::string_view metric = key.substr(key.find('_') + 1, 4);
    const auto lacks = [&](const bench::Json& run) { return bench::is_unmeasured(run, metric); };
    if (std::ranges::any_of(runs, lacks)) return {};
  }
  return mean_of(runs, [&](const bench::Json& run) {
    return bench::number_of(figure.section == nullptr ? run : run.at(figure.section), key);
  });
}

class Sweep {
 public:
  Sweep(const ParameterSweep& sweep, const Watcher& watcher) : sweep_(sweep), watcher_(watcher) {}

  Result<StudyResult> run(const StudyOptions& study) {
    for (const double value : sweep_.values) {
      const auto at_value = study_at(study, sweep_.parameter, value);
      if (!at_value) return std::unexpected(at_value.error());
      for (const PolicyPair& policy : study.policies) {
        if (auto done = add_point(*at_value, policy, value); !done) {
          return std::unexpected(std::move(done.error()));
        }
      }
    }
    const bench::Json& first = points_.front().at("run").at("baton");
    result_.json = {{"kind", "parameter_sweep"},
                    {"baton_version", build_info().version},
                    {"backend", "simulated"},
                    {"parameter", sweep_.parameter},
                    {"unit", find_parameter(sweep_.parameter)->unit},
                    {"workload", first.at("workload")},
                    {"slo", study.goodput.empty() ? bench::Json() : first.at("goodput").at("slo")},
                    {"points", std::move(points_)}};
    return std::move(result_);
  }

 private:
  Result<void> add_point(StudyOptions study, const PolicyPair& policy, double value) {
    const int rounds = study.load.repeats;
    study.policies = {policy};
    study.load.repeats = 1;
    const std::string what = fmt::format("{} {:g}, ", sweep_.parameter, value);
    const Watcher watcher = [&](const std::string& name, auto... rest) {
      if (watcher_) watcher_(what + name, rest...);
    };
    std::vector<bench::Json> runs;
    for (int round = 0; round < rounds; ++round, ++study.load.seed) {
      auto ran = run_study(study, watcher);
      if (!ran) return std::unexpected(std::move(ran.error()));
      runs.push_back(std::move(ran->json));
      for (bench::RequestRecord& record : ran->records) {
        record.run = what + record.run;
        result_.records.push_back(std::move(record));
      }
    }
    bench::Json point = {{"value", value}, {"policy", policy.name}, {"rounds", rounds}};
    for (const Figure& figure : kFigures) point[figure.key] = figure_json(runs, figure);
    point["good_share"] = nullptr;
    if (!study.goodput.empty()) {
      point["good_share"] = mean_of(runs, [](const bench::Json& run) {
        return bench::number_of(run.at("baton").at("goodput"), "share");
      });
    }
    point["run"] = bench::summarize_repeats(runs);
    points_.push_back(std::move(point));
    return {};
  }

  const ParameterSweep& sweep_;
  const Watcher& watcher_;
  bench::Json points_ = bench::Json::array();
  StudyResult result_;
};

std::string cell(const bench::Json& point, const char* key, int width, int digits,
                 double factor = 1) {
  const bench::Json& value = point.at(key);
  if (!value.is_number()) return fmt::format("{:>{}}", "-", width);
  return fmt::format("{:>{}.{}f}", factor * value.get<double>(), width, digits);
}

}  // namespace

Result<ParameterSweep> parse_parameter_sweep(std::string_view text) {
  const std::size_t equals = text.find('=');
  const Parameter* parameter = find_parameter(text.substr(0, equals));
  if (parameter == nullptr || equals == std::string_view::npos) {
    return bad(
        fmt::format("--sweep {}: must be PARAMETER=VALUE,VALUE,… with one of the parameters {}",
                    text, parameter_names()));
  }
  ParameterSweep sweep{std::string(parameter->name), {}};
  for (std::string_view rest = text.substr(equals + 1);;) {
    const std::size_t comma = rest.find(',');
    const auto value = parse_value(*parameter, rest.substr(0, comma));
    if (!value) return std::unexpected(value.error());
    sweep.values.push_back(*value);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::ranges::sort(sweep.values);
  const auto repeated = std::ranges::unique(sweep.values);
  sweep.values.erase(repeated.begin(), repeated.end());
  return sweep;
}

Result<StudyOptions> study_at(StudyOptions study, std::string_view parameter, double value) {
  if (parameter == "rate" && study.load.ramp) {
    return bad("--sweep rate and --ramp are two ways to offer requests; give one");
  }
  find_parameter(parameter)->set(study, value);
  const std::string option = fmt::format("--sweep {}={:g}", parameter, value);
  if (auto checked = check_pods(study.system.pods, option); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  for (const PodLoss& loss : study.system.losses) {
    if (std::ranges::find(study.system.pods, loss.pod, &SimulatedPod::name) ==
        study.system.pods.end()) {
      return bad(fmt::format("{}: then there is no pod '{}' for --lose", option, loss.pod));
    }
  }
  return study;
}

Result<StudyResult> run_parameter_sweep(const StudyOptions& study, const ParameterSweep& sweep,
                                        const Watcher& watcher) {
  return Sweep(sweep, watcher).run(study);
}

std::string render_parameter_sweep(const bench::Json& sweep, bool color) {
  const bench::Style style(color);
  const std::string parameter = bench::text_of(sweep, "parameter");
  const std::string unit = bench::text_of(sweep, "unit");
  std::size_t policy_width = std::string_view("policy").size();
  for (const bench::Json& point : sweep.at("points")) {
    policy_width = std::max(policy_width, bench::text_of(point, "policy").size());
  }
  std::string out = bench::paragraph("simulated  ", bench::text_of(sweep, "workload"), 11);
  if (!sweep.at("slo").is_null()) {
    out += bench::paragraph("good       ", bench::slo_text(sweep.at("slo")), 11);
  }
  out += style.bold(fmt::format("\n{:>12}  {:<{}}{:>11}{:>9}{:>11}{:>8}{:>8}{:>8}{:>8}\n",
                                parameter, "policy", policy_width, "TTFT mean", "p99", "TPOT mean",
                                "p99", "good", "reuse", "failed"));
  out += style.dim(fmt::format("{:>12}  {:<{}}{:>11}{:>9}{:>11}{:>8}{:>8}{:>8}\n", unit, "",
                               policy_width, "ms", "ms", "ms", "ms", "%", "%"));
  std::string before;
  for (const bench::Json& point : sweep.at("points")) {
    const std::string value = fmt::format("{:g}", bench::number_of(point, "value"));
    out += fmt::format("{:>12}  {:<{}}", value == before ? "" : value,
                       bench::text_of(point, "policy"), policy_width);
    out += cell(point, "mean_ttft_ms", 11, 0) + cell(point, "p99_ttft_ms", 9, 0);
    out += cell(point, "mean_tpot_ms", 11, 2) + cell(point, "p99_tpot_ms", 8, 2);
    out += cell(point, "good_share", 8, 1, 100) + cell(point, "reuse", 8, 1, 100);
    out += cell(point, "failed", 8, 0) + "\n";
    before = value;
  }
  return out;
}

}  // namespace baton::orchestrator::simulate
