#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"

namespace baton::orchestrator::simulate {

// One request of a result with details, in seconds since the run's start.
struct ServedRequest {
  double began = 0;
  double first_token = 0;
  double last_token = 0;
  std::vector<double> gaps;  // between events with tokens
  int input_tokens = 0;
  int output_tokens = 0;
  // As a Baton router tells; else nothing was cached, and all was done by one pod without a name.
  int cached_tokens = 0;
  std::string prefill_pod;
  std::string decode_pod;
  double prefill_s = 0;  // without its queue; 0: not told
  double first_step_s = 0;
};

// The requests with at least one token, of each run in the result: a run's own, a sweep's points, a
// comparison's sides. Errors: kInvalidArgument, "FILE: …", where the file is no result or its runs
// have no details.
[[nodiscard]] Result<std::vector<std::vector<ServedRequest>>> read_served_requests(
    const std::string& file, const nlohmann::ordered_json& result);

}  // namespace baton::orchestrator::simulate
