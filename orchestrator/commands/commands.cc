#include <fmt/format.h>

#include <cstdio>
#include <fstream>

#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {

int complain(std::string_view command, const std::string& message, int exit_code) {
  fmt::print(stderr, "baton {}: {}\n", command, message);
  return exit_code;
}

int complain(std::string_view command, const Error& error) {
  return complain(command, error.message,
                  error.code == ErrorCode::kInvalidArgument ? kBadInput : kFailed);
}

bool write_result(std::string_view command, const std::string& path, const std::string& text) {
  if (path == "-") return std::fputs(text.c_str(), stdout) >= 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) complain(command, path + ": cannot be written", kFailed);
  return static_cast<bool>(file);
}

}  // namespace baton::orchestrator
