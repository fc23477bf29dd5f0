#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/check/check_report.h"
#include "orchestrator/check/inspect_pods.h"
#include "orchestrator/check/misfits.h"
#include "orchestrator/commands/commands.h"
#include "orchestrator/commands/metrics_reference.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {
namespace {

struct CheckOptions {
  std::string config;
  bool schema = false;
  bool reference = false;
  bool metrics_reference = false;
  bool probe = false;
  bool json = false;
  double timeout_seconds = 0.0;  // 0: the limits that inspect_pods() has of its own
};

// 0: all fits; 1: something does not.
int probe_pods(const Config& config, const CheckOptions& options) {
  InspectionLimits limits;
  if (options.timeout_seconds > 0) {
    const auto limit = std::chrono::duration_cast<Duration>(Seconds(options.timeout_seconds));
    limits = {limit, limit};
  }
  const std::vector<InspectedPod> pods = inspect_pods(config, limits);
  const std::vector<Misfit> misfits = find_misfits(pods);
  const std::string text = options.json ? check_json(pods, misfits) : check_text(pods, misfits);
  if (std::fputs(text.c_str(), stdout) < 0) return 1;
  return misfits.empty() ? 0 : 1;
}

int check_file(const CheckOptions& options) {
  const std::string& path = options.config;
  const auto config = load_config(path);
  if (!config) {
    for (const ConfigIssue& issue : config.error()) {
      std::fprintf(stderr, "%s\n", format_issue(path, issue).c_str());
    }
    return 2;
  }
  if (options.probe) return probe_pods(*config, options);
  std::size_t pods = 0;
  for (const PoolConfig& pool : config->pools) pods += pool.pods().size();
  std::printf("%s: good; %zu pool%s, %zu pod%s\n", path.c_str(), config->pools.size(),
              config->pools.size() == 1 ? "" : "s", pods, pods == 1 ? "" : "s");
  return 0;
}

int print(const std::string& text) { return std::fputs(text.c_str(), stdout) < 0 ? 1 : 0; }

int run_check(const CheckOptions& options) {
  if (options.schema) return print(config_json_schema());
  if (options.reference) return print(config_reference());
  if (options.metrics_reference) return print(metrics_reference());
  return check_file(options);
}

}  // namespace

void add_check_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "Check a configuration file; print references");
  CLI::Option_group* what = command->add_option_group("what");
  CLI::Option* file = what->add_option("--config", options->config, "The file to check")
                          ->envname("BATON_CONFIG")
                          ->type_name("FILE");
  what->add_flag("--schema", options->schema, "Print the JSON Schema of the configuration file");
  what->add_flag("--reference", options->reference,
                 "Print the configuration reference (docs/configuration.md)");
  what->add_flag("--metrics-reference", options->metrics_reference,
                 "Print the list of metrics (docs/metrics.md)");
  what->require_option(1);
  CLI::Option* probe =
      command
          ->add_flag("--probe", options->probe,
                     "Ask every pod of the file what it is, and say what does not fit")
          ->needs(file);
  command->add_flag("--json", options->json, "What --probe found, as JSON")->needs(probe);
  command
      ->add_option("--timeout-seconds", options->timeout_seconds,
                   "Of each question of --probe; by default 5, and 30 for the hand-off probe")
      ->check(CLI::Range(0.01, 3600.0))
      ->needs(probe);
  command->callback([options, &exit_code] { exit_code = run_check(*options); });
}

}  // namespace baton::orchestrator
