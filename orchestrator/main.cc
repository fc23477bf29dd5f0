#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "orchestrator/build_info.h"
#include "orchestrator/commands/commands.h"

namespace {

constexpr int kFailed = 1;
constexpr int kBadUsage = 2;

std::string version_text() {
  const auto& info = baton::orchestrator::build_info();
  std::string text = "baton ";
  text.append(info.version).append(" (commit ").append(info.commit).append(", ");
  text.append(info.compiler).append(", ").append(info.build_type);
  text.append(", llama.cpp of llama-cpp-python ").append(info.llama_cpp).append(")");
  return text;
}

int run(int argc, char** argv) {
  CLI::App app{
      "Baton serves large language models on split pools: prompts are computed on one set of pods, "
      "tokens produced on another.",
      "baton"};
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.footer(
      "`baton COMMAND --help` lists a command's options. An option comes from its flag, "
      "else from its BATON_... variable, else from the configuration file.");

  int exit_code = 0;
  baton::orchestrator::add_serve_command(app, exit_code);
  baton::orchestrator::add_up_command(app, exit_code);
  baton::orchestrator::add_pod_command(app, exit_code);
  baton::orchestrator::add_mock_command(app, exit_code);
  baton::orchestrator::add_make_model_command(app, exit_code);
  baton::orchestrator::add_check_command(app, exit_code);
  baton::orchestrator::add_bench_command(app, exit_code);
  baton::orchestrator::add_kv_perf_command(app, exit_code);
  baton::orchestrator::add_simulate_command(app, exit_code);
  baton::orchestrator::add_fit_profile_command(app, exit_code);
  baton::orchestrator::add_explain_command(app, exit_code);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadUsage;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "baton: %s\n", error.what());
    return kFailed;
  }
}
