#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "orchestrator/bad_input.h"
#include "orchestrator/bench/report/html_report.h"
#include "orchestrator/bench/report/live_view.h"
#include "orchestrator/bench/results/compare.h"
#include "orchestrator/commands/bench_options.h"
#include "orchestrator/commands/commands.h"
#include "orchestrator/simulate/parameter_sweep.h"
#include "orchestrator/simulate/study.h"

namespace baton::orchestrator {
namespace {

struct SimulateFlags {
  BenchOptions bench;  // load and workload
  std::string pods = "prefill=4,decode=4";
  std::string profile = "llama3-8b-h100";
  std::vector<std::string> policies = {"predicted"};
  std::string split = "auto";
  int replicas = 1;
  double scrape_s = 1;
  double jitter_s = 0;
  double prior = 1;
  std::string sweep;
  int most_pods = 0;
  double good_share = 0.95;
  bool no_kv_events = false;
  std::vector<std::string> losses;
  double slo_ttft_ms = 0;
  double slo_tpot_ms = 0;
  std::string admission = "serve";
  std::string goodput;
  std::string json;
  std::string html;
  std::string csv;
  bool save_detailed = false;
  bool quiet = false;
};

Result<simulate::StudyOptions> study_of(const SimulateFlags& flags) {
  simulate::StudyOptions study;
  const std::uint64_t seed =
      flags.bench.seed ? *flags.bench.seed : std::random_device{}() % 1000000;
  auto load = load_of(flags.bench, seed);
  if (!load) return std::unexpected(load.error());
  auto workload = workload_of(flags.bench);
  if (!workload) return std::unexpected(workload.error());
  study.load = *load;
  study.workload = std::move(*workload);
  auto profile = simulate::find_engine_profile(flags.profile);
  if (!profile) return std::unexpected(profile.error());
  study.profile = *profile;
  if (flags.most_pods > 0) {
    if (!flags.html.empty()) return bad("--html: --find-ratio has a table and --json, but no page");
    if (!flags.sweep.empty()) return bad("--sweep and --find-ratio are two studies; give one");
    study.ratio = simulate::RatioOptions{flags.most_pods, flags.good_share};
  }
  auto pods = simulate::parse_pods(flags.pods, *profile);
  if (!pods) return std::unexpected(pods.error());
  study.system.pods = std::move(*pods);
  for (const std::string& text : flags.losses) {
    auto loss = simulate::parse_loss(text, study.system.pods);
    if (!loss) return std::unexpected(loss.error());
    study.system.losses.push_back(std::move(*loss));
  }
  for (const std::string& text : flags.policies) {
    auto policy = simulate::parse_policy(text);
    if (!policy) return std::unexpected(policy.error());
    study.policies.push_back(std::move(*policy));
  }
  if (!flags.goodput.empty()) {
    auto slo = bench::parse_slo(flags.goodput);
    if (!slo) return std::unexpected(slo.error());
    study.goodput = *slo;
  }
  study.detailed = flags.save_detailed;
  study.system.split = flags.split == "always"  ? Split::kAlways
                       : flags.split == "never" ? Split::kNever
                                                : Split::kAuto;
  study.jitter = std::chrono::duration_cast<Duration>(Seconds(flags.jitter_s));
  study.system.prior_factor = flags.prior;
  study.system.replicas = flags.replicas;
  study.system.scrape_interval = std::chrono::duration_cast<Duration>(Seconds(flags.scrape_s));
  study.system.kv_events = !flags.no_kv_events;
  if (flags.slo_ttft_ms > 0) study.system.slo.ttft = from_ms(flags.slo_ttft_ms);
  if (flags.slo_tpot_ms > 0) study.system.slo.tpot = from_ms(flags.slo_tpot_ms);
  if (flags.admission == "refuse") {
    if (!study.system.slo.ttft && !study.system.slo.tpot) {
      return bad("--admission refuse: there is no SLO; give --slo-ttft-ms or --slo-tpot-ms");
    }
    study.system.slo.admission = Admission::kRefuse;
  }
  return study;
}

Result<simulate::StudyResult> run_study_of(const SimulateFlags& flags,
                                           const simulate::Watcher& watcher) {
  const auto study = study_of(flags);
  if (!study) return std::unexpected(study.error());
  if (flags.sweep.empty()) return simulate::run_study(*study, watcher);
  const auto sweep = simulate::parse_parameter_sweep(flags.sweep);
  if (!sweep) return std::unexpected(sweep.error());
  return simulate::run_parameter_sweep(*study, *sweep, watcher);
}

int run_simulate(const SimulateFlags& flags) {
  simulate::Watcher watcher;
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (!flags.quiet) {
    watcher = [terminal](const std::string& what, std::size_t done, std::size_t all, Duration now) {
      std::fprintf(stderr, "%s%s: %zu of %zu requests, %.0f s simulated%s", terminal ? "\r" : "",
                   what.c_str(), done, all, to_seconds(now),
                   terminal && done < all ? "\033[K" : "\n");
    };
  }
  const auto result = run_study_of(flags, watcher);
  if (!result) return complain("simulate", result.error());
  if (flags.json != "-" && flags.html != "-" && flags.csv != "-") {
    const bool color = ::isatty(STDOUT_FILENO) == 1 && bench::color_allowed();
    std::fputs(simulate::render_study(result->json, color).c_str(), stdout);
  }
  bool written = true;
  if (!flags.json.empty())
    written &= write_result("simulate", flags.json, result->json.dump(1) + "\n");
  if (!flags.csv.empty())
    written &= write_result("simulate", flags.csv, bench::records_csv(result->records));
  if (!flags.html.empty())
    written &= write_result("simulate", flags.html, bench::html_report(result->json));
  return written ? 0 : kFailed;
}

}  // namespace

void add_simulate_command(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<SimulateFlags>();
  CLI::App* command = app.add_subcommand(
      "simulate", "Serve a workload by simulated pods in virtual time, with the router's own code");
  const char* system = "The system";
  const auto option = [&](const char* name, auto& value, const char* help) {
    return command->add_option(name, value, help)->capture_default_str()->group(system);
  };
  option("--pods", flags->pods,
         "ROLE=COUNT[:PROFILE], with commas; roles are prefill, decode and both");
  option("--profile", flags->profile,
         "Engine of pods that name none: dynamo-mocker, dynamo-mocker-64gbs, llama3-8b-h100, "
         "llama3-70b-h100-tp8 or FILE.json; *2 behind it makes it twice as slow");
  option("--policy,--compare", flags->policies,
         "POLICY of both stages, or PREFILL/DECODE; several, with commas, are compared")
      ->delimiter(',');
  option("--split", flags->split, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  option("--slo-ttft-ms", flags->slo_ttft_ms, "The pool's slo.ttft_ms; 0: none");
  option("--slo-tpot-ms", flags->slo_tpot_ms, "The pool's slo.tpot_ms; 0: none");
  option("--admission", flags->admission,
         "The pool's slo.admission: refuse turns away what is predicted to miss the SLO")
      ->check(CLI::IsMember({"serve", "refuse"}));
  option("--replicas", flags->replicas, "Routers")->check(CLI::Range(1, simulate::kMostReplicas));
  option("--scrape", flags->scrape_s, "Seconds between two looks at the pods' metrics")
      ->check(CLI::Range(0.01, 3600.0));
  option("--prior", flags->prior,
         "What the routers take pods to be at first is wrong by this factor")
      ->check(CLI::Range(0.01, 100.0));
  option("--jitter", flags->jitter_s,
         "Each arrival is shifted by up to so many seconds, by the seed")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--sweep", flags->sweep,
                   "PARAMETER=VALUE,VALUE,…: runs the study once at each; parameters are rate, "
                   "time-scale, slo-ttft-ms, slo-tpot-ms, replicas, scrape, prior, jitter, and "
                   "prefill, decode and both: numbers of pods")
      ->group(system);
  option("--find-ratio", flags->most_pods,
         "Instead of --pods: the fewest pods of --profile, up to so many, and their split into "
         "roles, that keep --goodput")
      ->check(CLI::Range(0, 1000));
  option("--good-share", flags->good_share, "--find-ratio: share of good requests wanted")
      ->check(CLI::Range(0.0, 1.0));
  command->add_flag("--no-kv-events", flags->no_kv_events, "Pods do not tell what they cache")
      ->group(system);
  command
      ->add_option("--lose", flags->losses,
                   "POD@SECONDS[+AWAY]: the pod dies then, and is started again after AWAY seconds")
      ->group(system);
  add_load_flags(*command, flags->bench);
  add_workload_flags(*command, flags->bench);
  const char* results = "Results";
  command->add_option("--goodput", flags->goodput, "Bounds for goodput, as ttft:500,tpot:50 (ms)")
      ->group(results);
  command->add_option("--json", flags->json, "Result file; -: stdout")->group(results);
  command->add_option("--csv", flags->csv, "One line a request; -: stdout")->group(results);
  command->add_option("--html", flags->html, "Report, one page that needs nothing else")
      ->group(results);
  command
      ->add_flag("--save-detailed", flags->save_detailed,
                 "With every request's lengths and times in --json")
      ->group(results);
  command->add_flag("--quiet", flags->quiet, "No progress")->group(results);
  command->callback([flags, &exit_code] { exit_code = run_simulate(*flags); });
}

}  // namespace baton::orchestrator
