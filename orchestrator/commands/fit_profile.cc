#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/commands/commands.h"
#include "orchestrator/simulate/json_file.h"
#include "orchestrator/simulate/profile_fit.h"

namespace baton::orchestrator {
namespace {

struct FitProfileOptions {
  std::vector<std::string> results;
  std::string save;
  std::string name = "fitted";
  std::string like = "llama3-8b-h100";
};

Result<simulate::ProfileFit> fit_of(const FitProfileOptions& options) {
  const auto like = simulate::find_engine_profile(options.like);
  if (!like) return std::unexpected(like.error());
  std::vector<simulate::MeasuredResult> results;
  for (const std::string& file : options.results) {
    auto json = simulate::read_json_file(file);
    if (!json) return std::unexpected(json.error());
    results.push_back({file, std::move(*json)});
  }
  return simulate::fit_profile(results, *like, options.name);
}

int run_fit_profile(const FitProfileOptions& options) {
  const auto fit = fit_of(options);
  if (!fit) {
    return complain("fit-profile", fit.error().message);
  }
  if (options.save != "-") std::fputs(simulate::render_profile_fit(*fit).c_str(), stdout);
  if (options.save.empty()) return 0;
  const std::string json = simulate::profile_json(fit->profile) + "\n";
  return write_result("fit-profile", options.save, json) ? 0 : kFailed;
}

}  // namespace

void add_fit_profile_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<FitProfileOptions>();
  CLI::App* command = app.add_subcommand(
      "fit-profile", "Fit an engine profile for `baton simulate` from results of `baton bench`");
  command
      ->add_option("results", options->results,
                   "Results with details, of baton bench --save-detailed --json FILE")
      ->required()
      ->type_name("FILE");
  command->add_option("--save", options->save, "The profile, for simulate --profile; -: stdout")
      ->type_name("FILE.json");
  command->add_option("--name", options->name, "Its name")->capture_default_str();
  command
      ->add_option("--like", options->like,
                   "Profile of which everything is that results do not tell: blocks, hand-offs")
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run_fit_profile(*options); });
}

}  // namespace baton::orchestrator
