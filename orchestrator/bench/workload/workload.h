#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::orchestrator::bench {

// A prompt before it is put into an OpenAI body: text, chat turns, or token ids (completions only).
struct Turn {
  std::string role;  // "system", "user", "assistant"
  std::string text;
};

// What one request of a workload asks for; makes no assumption about the server's address.
struct WorkloadRequest {
  std::optional<Duration> at;  // offset since the trace's start; only in workloads that have times
  std::vector<Turn> turns;     // one turn of role "user" is a plain prompt
  std::vector<int> token_ids;  // instead of turns
  int prompt_tokens = 0;       // as built; 0: unknown
  int max_tokens = 0;
  std::string model;  // empty: the run's model
  int priority = 0;
  std::optional<int> leave_after_tokens;  // cancel once so many tokens came; 0: before the first
  int session = -1;                       // turns of one session follow one another
  bool last_of_session = true;
};

// A source of requests. Owned by the run, used on its thread alone. request(i) is a pure function
// of the workload's seed and i, but for sessions, whose later turns hold the answers to the earlier
// ones.
class Workload {
 public:
  virtual ~Workload() = default;
  // How many requests there are; nullopt: as many as are asked for.
  [[nodiscard]] virtual std::optional<std::size_t> size() const = 0;
  // Request `index`, counted from 0. Errors: kInvalidArgument naming file and line.
  [[nodiscard]] virtual Result<WorkloadRequest> request(std::size_t index) = 0;
  // True where the requests carry their own times (traces): WorkloadRequest::at is set.
  [[nodiscard]] virtual bool has_times() const { return false; }
  // The time of request `index`, without building it. Only where has_times().
  [[nodiscard]] virtual Duration time_of(std::size_t /*index*/) { return {}; }

  // Sessions: what request `index` was answered, and whether the next turn may be built now.
  virtual void answered(std::size_t /*index*/, std::string_view /*text*/) {}
  // The same of a prompt of token ids.
  virtual void answered_ids(std::size_t /*index*/, std::span<const int> /*ids*/) {}
  // Sessions: the request that must have been answered before `index` may be sent, and the pause
  // after that answer. nullopt: none.
  [[nodiscard]] virtual std::optional<std::pair<std::size_t, Duration>> follows(
      std::size_t /*index*/) {
    return std::nullopt;
  }

  // One line for the report: kind, lengths, file.
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace baton::orchestrator::bench
