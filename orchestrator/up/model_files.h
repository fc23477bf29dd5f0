#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

// What the pods of `baton up` serve.
struct ModelFiles {
  std::string path;
  std::string served_name;
  std::vector<LoraConfig> loras;
};

inline constexpr const char* kDemoModel = "baton-demo";
inline constexpr const char* kDemoLora = "baton-demo-lora";

// The user's files, checked; or, where `model` is empty, the made ones in
// ${XDG_CACHE_HOME:-~/.cache} /baton, or in the folder for temporary files if that cannot be
// written. `loras` are NAME=FILE. Errors: kInvalidArgument naming the option or file.
[[nodiscard]] Result<ModelFiles> find_model_files(const std::string& model,
                                                  const std::vector<std::string>& loras);

}  // namespace baton::orchestrator
