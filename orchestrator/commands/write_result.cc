#include <fmt/format.h>

#include <cstdio>
#include <fstream>

#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {

bool write_result(std::string_view command, const std::string& path, const std::string& text) {
  if (path == "-") return std::fputs(text.c_str(), stdout) >= 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) fmt::print(stderr, "baton {}: {}: cannot be written\n", command, path);
  return static_cast<bool>(file);
}

}  // namespace baton::orchestrator
