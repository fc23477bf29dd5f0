#include <cstdio>
#include <memory>
#include <string>

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
};

int check_file(const std::string& path) {
  const auto config = load_config(path);
  if (!config) {
    for (const ConfigIssue& issue : config.error()) {
      std::fprintf(stderr, "%s\n", format_issue(path, issue).c_str());
    }
    return 2;
  }
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
  return check_file(options.config);
}

}  // namespace

void add_check_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "Check a configuration file; print references");
  CLI::Option_group* what = command->add_option_group("what");
  what->add_option("--config", options->config, "The file to check")
      ->envname("BATON_CONFIG")
      ->type_name("FILE");
  what->add_flag("--schema", options->schema, "Print the JSON Schema of the configuration file");
  what->add_flag("--reference", options->reference,
                 "Print the configuration reference (docs/configuration.md)");
  what->add_flag("--metrics-reference", options->metrics_reference,
                 "Print the list of metrics (docs/metrics.md)");
  what->require_option(1);
  command->callback([options, &exit_code] { exit_code = run_check(*options); });
}

}  // namespace baton::orchestrator
