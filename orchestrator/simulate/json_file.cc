#include "orchestrator/simulate/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "orchestrator/bad_input.h"

namespace baton::orchestrator::simulate {

Result<nlohmann::ordered_json> read_json_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || file.bad()) return bad(path + ": cannot be read");
  try {
    return nlohmann::ordered_json::parse(text.view());
  } catch (const nlohmann::ordered_json::parse_error& error) {
    const std::string_view so_far = text.view().substr(0, error.byte);
    return bad(fmt::format("{}:{}: no JSON: {}", path, 1 + std::ranges::count(so_far, '\n'),
                           error.what()));
  }
}

}  // namespace baton::orchestrator::simulate
