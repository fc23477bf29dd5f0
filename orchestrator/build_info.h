#pragma once

#include <string_view>

namespace baton::orchestrator {

// What this executable was made of; `baton --version` and the metric baton_build_info print it.
struct BuildInfo {
  std::string_view version;
  std::string_view commit;     // with -dirty where the tree had changes; "unknown" outside git
  std::string_view compiler;   // name and version
  std::string_view llama_cpp;  // release of llama-cpp-python whose llama.cpp is built in
  std::string_view build_type;
};

[[nodiscard]] const BuildInfo& build_info();

}  // namespace baton::orchestrator
