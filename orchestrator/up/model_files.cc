#include "orchestrator/up/model_files.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "adapters/engines/llama_cpp/make_model.h"

namespace baton::orchestrator {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> cache_folders() {
  std::vector<fs::path> folders;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') {
    folders.push_back(fs::path(cache) / "baton");
  } else if (home != nullptr && *home != '\0') {
    folders.push_back(fs::path(home) / ".cache" / "baton");
  }
  std::error_code ignored;
  folders.push_back(fs::temp_directory_path(ignored) / ("baton-" + std::to_string(::getuid())));
  return folders;
}

// Made beside its place and moved there, so that a system that runs from it is not disturbed.
Result<adapters::MadeModel> make_in(const fs::path& folder) {
  constexpr std::uint64_t kSeed = 0;
  const fs::path fresh = folder / ("made-" + std::to_string(::getpid()));
  auto made = adapters::make_model(fresh.string(), kSeed);
  if (!made) return made;
  std::error_code failed;
  for (std::string* path : {&made->model_path, &made->lora_path}) {
    const fs::path place = folder / fs::path(*path).filename();
    fs::rename(*path, place, failed);
    if (failed) break;
    *path = place.string();
  }
  std::error_code ignored;
  fs::remove_all(fresh, ignored);
  if (failed) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "cannot write " + folder.string() + ": " + failed.message());
  }
  return made;
}

Result<ModelFiles> make_files() {
  Result<adapters::MadeModel> made = std::unexpected(Error{});
  for (const fs::path& folder : cache_folders()) {
    made = make_in(folder);
    if (made) {
      return ModelFiles{made->model_path, kDemoModel, {{kDemoLora, made->lora_path}}};
    }
  }
  return std::unexpected(made.error());
}

}  // namespace

Result<ModelFiles> find_model_files(const std::string& model,
                                    const std::vector<std::string>& loras) {
  Result<ModelFiles> files =
      model.empty() ? make_files() : ModelFiles{model, fs::path(model).stem().string(), {}};
  if (!files) return files;
  for (const std::string& lora : loras) {
    const std::size_t equals = lora.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == lora.size()) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  "--lora must be NAME=FILE, not " + lora);
    }
    files->loras.push_back({lora.substr(0, equals), lora.substr(equals + 1)});
  }
  std::vector<std::string> paths = {files->path};
  for (const LoraConfig& lora : files->loras) paths.push_back(lora.path);
  for (const std::string& path : paths) {
    std::error_code failed;
    if (!fs::is_regular_file(path, failed)) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig, path + ": no such file");
    }
  }
  return files;
}

}  // namespace baton::orchestrator
