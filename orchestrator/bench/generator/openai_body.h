#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

// Writes the JSON bodies of one run's requests. Owned by the run; immutable. A member that the
// user's extra body sets is not written a second time.
class OpenAiBody {
 public:
  // Errors: kInvalidArgument, where extra_body is no JSON object, or sets what the run itself sets.
  [[nodiscard]] static Result<OpenAiBody> create(const Target& target, const RunOptions& options);
  // Errors: kInvalidArgument: token ids in a chat, or nothing to ask.
  [[nodiscard]] Result<std::string> build(const WorkloadRequest& request) const;

 private:
  [[nodiscard]] bool user_sets(std::string_view key) const;
  void append_turns(std::string& body, const WorkloadRequest& request) const;

  std::string model_;
  bool chat_ = true;
  std::vector<std::string> user_keys_;
  std::string tail_;  // what is the same for each request, with the closing brace
};

}  // namespace baton::orchestrator::bench
