#include "orchestrator/simulate/study.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "orchestrator/bad_input.h"
#include "orchestrator/bench/results/compare.h"
#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/workload/draws.h"
#include "orchestrator/build_info.h"
#include "orchestrator/simulate/parameter_sweep.h"

namespace baton::orchestrator::simulate {
namespace {

// Ids that prompts are made of; so many that no two blocks are the same by chance.
constexpr bench::TokenIdRange kTokenIds{3, 1 << 30};

// Traces batch their arrivals: the same requests, each at a time that is shifted a little.
void shift(std::vector<Duration>& schedule, Duration jitter, std::uint64_t seed) {
  if (jitter <= Duration::zero()) return;
  bench::Draws draws(bench::mix({seed, 0x6a69'7474'6572}));
  for (Duration& at : schedule) {
    const double share = 2 * draws.unit() - 1;
    at = std::max(Duration::zero(), at + std::chrono::duration_cast<Duration>(jitter * share));
  }
}

class Study {
 public:
  Study(const StudyOptions& options, const Watcher& watcher)
      : options_(options),
        watcher_(watcher),
        prompts_(bench::PromptBuilder::from_token_ids(kTokenIds, 0)) {}

  Result<StudyResult> run() {
    if (options_.load.concurrency > 0 || options_.load.max_concurrency > 0) {
      return bad(
          "--concurrency: a simulation has an open loop: give --rate, or a trace with times");
    }
    if (options_.ratio) return find_pods();
    std::vector<bench::ComparedSide> sides;
    for (const PolicyPair& policy : options_.policies) sides.push_back({policy.name, "", {}});
    for (int round = 0; round < options_.load.repeats; ++round) {
      for (std::size_t side = 0; side < sides.size(); ++side) {
        auto run = run_once(options_.policies[side], options_.system, round);
        if (!run) return std::unexpected(std::move(run.error()));
        sides[side].runs.push_back(std::move(*run));
      }
    }
    if (sides.size() > 1) {
      result_.json = bench::compare(
          sides, {.seed = options_.load.seed, .version = std::string(build_info().version)});
    } else {
      std::vector<bench::Json> summaries;
      for (bench::ComparedRun& run : sides.front().runs)
        summaries.push_back(std::move(run.summary));
      result_.json = bench::summarize_repeats(summaries);
    }
    return std::move(result_);
  }

 private:
  Result<StudyResult> find_pods() {
    if (options_.goodput.empty()) {
      return bad(
          "--find-ratio looks for pods that keep an SLO: give it with --goodput, as in "
          "--goodput ttft:500,tpot:50");
    }
    const PolicyPair& policy = options_.policies.front();
    bench::Json tried = bench::Json::array();
    const auto found = find_ratio(*options_.ratio, [&](int prefill, int decode) -> Result<double> {
      SimulationOptions system = options_.system;
      system.pods = named_pods(prefill, Role::kPrefill);
      std::ranges::move(named_pods(decode, Role::kDecode), std::back_inserter(system.pods));
      const std::string what = fmt::format("{} prefill and {} decode pods", prefill, decode);
      const auto run = run_once({what, policy.prefill, policy.decode}, std::move(system), 0);
      if (!run) return std::unexpected(run.error());
      const bench::Json& summary = run->summary;
      const auto share = summary.at("baton").at("goodput").at("share").get<double>();
      tried.push_back({{"prefill", prefill},
                       {"decode", decode},
                       {"good_share", share},
                       {"mean_ttft_ms", summary.at("mean_ttft_ms")},
                       {"p99_ttft_ms", summary.at("p99_ttft_ms")},
                       {"mean_tpot_ms", summary.at("mean_tpot_ms")},
                       {"p99_tpot_ms", summary.at("p99_tpot_ms")},
                       {"prefill_busy", summary.at("system").at("prefill_busy")},
                       {"decode_busy", summary.at("system").at("decode_busy")}});
      workload_ = summary.at("baton").at("workload");
      slo_ = summary.at("baton").at("goodput").at("slo");
      return share;
    });
    if (!found) return std::unexpected(found.error());
    bench::Json& json = result_.json;
    json = {{"kind", "ratio"},
            {"version", build_info().version},
            {"workload", workload_},
            {"policy", policy.name},
            {"profile", options_.profile.name},
            {"slo", slo_},
            {"good_share", options_.ratio->good_share},
            {"most_pods", options_.ratio->most_pods}};
    json["best"] = nullptr;
    if (const auto& best = found->best) {
      json["best"] = {
          {"prefill", best->prefill}, {"decode", best->decode}, {"good_share", best->good_share}};
    }
    json["tried"] = std::move(tried);
    return std::move(result_);
  }

  [[nodiscard]] std::vector<SimulatedPod> named_pods(int count, Role role) const {
    std::vector<SimulatedPod> pods;
    for (int i = 0; i < count; ++i) {
      pods.push_back({fmt::format("{}-{}", name_of(role), i), role, options_.profile});
    }
    return pods;
  }

  Result<bench::ComparedRun> run_once(const PolicyPair& policy, SimulationOptions system,
                                      int round) {
    bench::LoadOptions load = options_.load;
    load.seed += static_cast<std::uint64_t>(round);
    bench::WorkloadSpec spec = options_.workload;
    spec.seed = load.seed;
    auto workload = bench::make_workload(spec, prompts_);
    if (!workload) return std::unexpected(std::move(workload.error()));
    auto plan = bench::plan_run(load, **workload);
    if (!plan) return std::unexpected(std::move(plan.error()));
    shift(plan->schedule, options_.jitter, load.seed);
    system.prefill_policy = policy.prefill;
    system.decode_policy = policy.decode;
    system.seed = load.seed;
    std::string what = policy.name;
    if (load.repeats > 1) what += fmt::format(", round {} of {}", round + 1, load.repeats);
    const std::size_t all = plan->requests;
    auto ran = simulate(system, **workload, plan->schedule, [&](std::size_t done, Duration now) {
      if (watcher_) watcher_(what, done, all, now);
    });
    if (!ran) return std::unexpected(std::move(ran.error()));
    if (watcher_) watcher_(what, all, all, ran->system.duration);

    bench::SummaryOptions summary;
    summary.slo = options_.goodput;
    summary.detailed = options_.detailed;
    summary.window = plan->window;
    summary.backend = "simulated";
    summary.label = policy.name;
    summary.version = build_info().version;
    summary.seed = load.seed;
    summary.workload = (*workload)->describe();
    summary.prompt_source = summary.tokenizer = prompts_.source();
    summary.request_rate = load.rate.value_or(std::numeric_limits<double>::infinity());
    if (!load.rate && plan->schedule.size() > 1) {
      const double span = to_seconds(plan->schedule.back());
      if (span > 0) summary.request_rate = static_cast<double>(plan->schedule.size() - 1) / span;
    }
    bench::ComparedRun compared;
    compared.summary = bench::summarize(ran->run, summary);
    compared.summary["system"] = system_json(ran->system);
    compared.times = bench::request_times(ran->run.records, plan->window);
    for (bench::RequestRecord& record : ran->run.records) {
      record.run = what;
      record.gaps_us = {};
      result_.records.push_back(std::move(record));
    }
    return compared;
  }

  const StudyOptions& options_;
  const Watcher& watcher_;
  bench::PromptBuilder prompts_;
  bench::Json workload_;  // of the runs of find_pods()
  bench::Json slo_;
  StudyResult result_;
};

std::string render_ratio(const bench::Json& result) {
  std::string out = fmt::format(
      "workload   {}\npolicy     {}, pods of {}\nwanted     {:g} % of the offered requests good "
      "({})\n\n pods  prefill  decode     good  mean TTFT  p99 TTFT  mean TPOT  p99 TPOT  busy "
      "prefill  decode\n",
      bench::text_of(result, "workload"), bench::text_of(result, "policy"),
      bench::text_of(result, "profile"), bench::number_of(result, "good_share") * 100,
      bench::slo_text(result.at("slo")));
  std::vector<bench::Json> tried(result.at("tried").begin(), result.at("tried").end());
  const auto key = [](const bench::Json& one) {
    const int prefill = one.at("prefill").get<int>();
    return std::pair(prefill + one.at("decode").get<int>(), prefill);
  };
  std::ranges::sort(tried, {}, key);
  const bench::Json& best = result.at("best");
  for (const bench::Json& one : tried) {
    const bool is_best = !best.is_null() && key(best) == key(one);
    out += fmt::format(
        "{:>5}{:>9}{:>8}{:>7.1f} %{:>11.0f}{:>10.0f}{:>11.2f}{:>10.2f}{:>12.0f} %{:>6.0f} %{}\n",
        key(one).first, one.at("prefill").get<int>(), one.at("decode").get<int>(),
        100 * bench::number_of(one, "good_share"), bench::number_of(one, "mean_ttft_ms"),
        bench::number_of(one, "p99_ttft_ms"), bench::number_of(one, "mean_tpot_ms"),
        bench::number_of(one, "p99_tpot_ms"), 100 * bench::number_of(one, "prefill_busy"),
        100 * bench::number_of(one, "decode_busy"), is_best ? "  <" : "");
  }
  if (best.is_null()) {
    return out + fmt::format("\nnot even {} pods hold it\n", bench::count_of(result, "most_pods"));
  }
  return out + fmt::format("\nfewest: {} prefill and {} decode pods\n",
                           best.at("prefill").get<int>(), best.at("decode").get<int>());
}

std::string render_system(const bench::Json& run) {
  if (!run.contains("system")) return {};
  const bench::Json& system = run.at("system");
  std::string out = fmt::format(
      "pods        prefill busy {:.0f} %, decode busy {:.0f} %; KV at most {:.0f} %\n"
      "prefix      {:.1f} % of prompt tokens reused; {:.1f} % of requests decode-only\n"
      "hand-offs   {}, {:.1f} GB, {:.2f} ms exposed on average; {} preemptions, {} retries\n",
      100 * system.at("prefill_busy").get<double>(), 100 * system.at("decode_busy").get<double>(),
      100 * system.at("max_kv_usage").get<double>(), 100 * system.at("reuse").get<double>(),
      100 * system.at("decode_only_share").get<double>(),
      system.at("hand_offs").get<std::int64_t>(),
      system.at("transferred_bytes").get<double>() / 1e9,
      system.at("exposed_transfer_ms").get<double>(), system.at("preemptions").get<std::int64_t>(),
      system.at("retries").get<std::int64_t>());
  if (const auto refused = system.at("refused").get<std::int64_t>(); refused > 0) {
    out += fmt::format("admission   {} requests refused: predicted to miss the SLO\n", refused);
  }
  return out;
}

}  // namespace

Result<StudyResult> run_study(const StudyOptions& options, const Watcher& watcher) {
  return Study(options, watcher).run();
}

bench::Json system_json(const SystemFigures& system) {
  bench::Json json;
  const double duration = std::max(to_seconds(system.duration), 1e-9);
  double prefill_s = 0;
  double decode_s = 0;
  int prefills = 0;
  int decodes = 0;
  double max_kv_usage = 0;
  for (const auto& pod : system.pods) {
    if (pod.role == Role::kPrefill) {
      prefill_s += pod.busy_s;
      ++prefills;
    } else {
      decode_s += pod.busy_s;
      ++decodes;
    }
    max_kv_usage = std::max(max_kv_usage, pod.max_kv_usage);
  }
  const auto share = [duration](double seconds, int pods) {
    return pods > 0 ? seconds / (duration * pods) : 0.0;
  };
  const auto served = std::max<std::int64_t>(1, system.hand_offs + system.decode_only);
  json["duration_s"] = duration;
  json["reuse"] = system.reuse();
  json["prompt_tokens"] = system.prompt_tokens;
  json["decode_only_share"] = static_cast<double>(system.decode_only) / static_cast<double>(served);
  json["prefill_busy"] = share(prefill_s, prefills);
  json["decode_busy"] = share(decode_s, decodes);
  json["max_kv_usage"] = max_kv_usage;
  json["hand_offs"] = system.hand_offs;
  json["transferred_bytes"] = system.transferred_bytes;
  json["exposed_transfer_ms"] =
      system.hand_offs > 0 ? 1e3 * system.exposed_transfer_s / static_cast<double>(system.hand_offs)
                           : 0.0;
  json["preemptions"] = system.preemptions;
  json["retries"] = system.retries;
  json["refused"] = system.refused;
  json["engine_steps"] = system.engine_steps;
  bench::Json pods = bench::Json::array();
  for (const auto& pod : system.pods) {
    pods.push_back({{"name", pod.name},
                    {"role", name_of(pod.role)},
                    {"busy", pod.busy_s / duration},
                    {"requests", pod.requests},
                    {"max_kv_usage", pod.max_kv_usage}});
  }
  json["pods"] = std::move(pods);
  return json;
}

std::string render_study(const bench::Json& result, bool color) {
  if (bench::text_of(result, "kind") == "ratio") return render_ratio(result);
  if (bench::text_of(result, "kind") == "parameter_sweep") {
    return render_parameter_sweep(result, color);
  }
  if (bench::text_of(result, "kind") == "compare") return bench::render_compare(result, color);
  return bench::render_table(result, color) + render_system(result);
}

}  // namespace baton::orchestrator::simulate
