#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/picking/policy.h"
#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/workload/workload.h"
#include "orchestrator/config/config.h"
#include "orchestrator/simulate/engine_profile.h"

namespace baton::orchestrator::simulate {

struct SimulatedPod {
  std::string name;
  Role role = Role::kBoth;
  EngineProfile profile;
};

// A pod dies, with all that it holds, and starts again.
struct PodLoss {
  std::string pod;
  Duration at{};
  Duration away = Duration::max();  // until it is started again; then it takes its start-up time
};

struct SimulationOptions {
  std::vector<SimulatedPod> pods;
  Policy prefill_policy = Policy::kPredicted;
  Policy decode_policy = Policy::kPredicted;
  Split split = Split::kAuto;
  SloConfig slo;
  int replicas = 1;  // routers, each with its own view; a request comes to one of them by chance
  Duration scrape_interval = std::chrono::seconds(1);
  bool kv_events = true;    // pods tell what their caches keep and drop
  double prior_factor = 1;  // of what the latency model takes pods to be before it saw them
  std::vector<PodLoss> losses;
  std::uint64_t seed = 0;
};

// What a run did to the pods, beside what each request saw.
struct SystemFigures {
  Duration duration{};             // from the first arrival to the last answer
  std::int64_t prompt_tokens = 0;  // of prompts that were computed
  std::int64_t reused_tokens = 0;  // of those, found in the cache of the pod that computed
  std::int64_t decode_only = 0;    // requests
  std::int64_t hand_offs = 0;      // KV that arrived
  std::int64_t transferred_bytes = 0;
  double exposed_transfer_s = 0;  // sum, from prefill's end to the arrival of the KV
  std::int64_t preemptions = 0;
  std::int64_t retries = 0;
  std::int64_t refused = 0;  // requests that were predicted to miss the SLO
  std::int64_t engine_steps = 0;
  struct PodFigures {
    std::string name;
    Role role = Role::kBoth;
    double busy_s = 0;  // in steps
    std::int64_t requests = 0;
    double max_kv_usage = 0;
  };
  std::vector<PodFigures> pods;

  [[nodiscard]] double reuse() const {
    return prompt_tokens > 0
               ? static_cast<double>(reused_tokens) / static_cast<double>(prompt_tokens)
               : 0.0;
  }
};

struct SimulationResult {
  bench::RunResult run;
  SystemFigures system;
};

// Serves a workload by simulated pods in virtual time: the router's own planner, load account,
// prefix index and latency model drive engine_model's engines; only what lies between them (HTTP,
// the hand-off protocol) is left out. Routers see what servers would: prompts, their own history,
// scraped metrics and KV events. Deterministic by its seed. Prompts must be token ids (asserted).
// Errors: the workload's.
[[nodiscard]] Result<SimulationResult> simulate(
    const SimulationOptions& options, bench::Workload& workload,
    const std::vector<Duration>& schedule,
    const std::function<void(std::size_t done, Duration now)>& progress = {});

}  // namespace baton::orchestrator::simulate
