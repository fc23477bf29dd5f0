#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "adapters/engines/llama_cpp/make_model.h"
#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {
namespace {

struct MakeModelOptions {
  std::string directory;
  std::uint64_t seed = 0;
};

int run_make_model(const MakeModelOptions& options) {
  const auto made = adapters::make_model(options.directory, options.seed);
  if (!made) {
    return complain("make-model", made.error().message);
  }
  std::printf("%s\n%s\n", made->model_path.c_str(), made->lora_path.c_str());
  return 0;
}

}  // namespace

void add_make_model_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<MakeModelOptions>();
  CLI::App* command = app.add_subcommand(
      "make-model", "Write a small random model and a LoRA adapter for it, for demos and tests");
  command->add_option("directory", options->directory, "Where model.gguf and lora.gguf go")
      ->required();
  command->add_option("--seed", options->seed, "The same seed gives the same bytes")
      ->envname("BATON_SEED")
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run_make_model(*options); });
}

}  // namespace baton::orchestrator
