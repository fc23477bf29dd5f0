#pragma once

#include <string>
#include <vector>

#include "orchestrator/config/config.h"

namespace baton::orchestrator {

struct WholeIssue {
  std::string path;  // of the value at fault, as pools[0].prefill[1].name
  std::string message;
};

// What is wrong with a configuration whose fields are each well-formed: names used twice, two pools
// with one model, pools that cannot answer anything.
[[nodiscard]] std::vector<WholeIssue> whole_issues(const Config& config);

}  // namespace baton::orchestrator
