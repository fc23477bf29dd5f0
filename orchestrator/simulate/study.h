#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "orchestrator/bench/results/summary.h"
#include "orchestrator/bench/session.h"
#include "orchestrator/bench/workload/workloads.h"
#include "orchestrator/simulate/ratio.h"
#include "orchestrator/simulate/simulation.h"

namespace baton::orchestrator::simulate {

inline constexpr int kMostPods = 10'000;
inline constexpr int kMostReplicas = 64;

// Policies of both stages, as `baton simulate --policy` names them: "round_robin", or
// "predicted/least_request".
struct PolicyPair {
  std::string name;
  Policy prefill = Policy::kPredicted;
  Policy decode = Policy::kPredicted;
};
// Errors: kInvalidArgument that lists the policies.
[[nodiscard]] Result<PolicyPair> parse_policy(std::string_view text);

// "prefill=4,decode=2:llama3-8b-h100*2": pods named prefill-0 and so on. Errors: kInvalidArgument.
[[nodiscard]] Result<std::vector<SimulatedPod>> parse_pods(std::string_view text,
                                                           const EngineProfile& usual);
// That they decode and share one block size, at most kMostPods. Errors: kInvalidArgument, which
// begins with `option`.
[[nodiscard]] Result<void> check_pods(const std::vector<SimulatedPod>& pods,
                                      std::string_view option);
// "decode-1@60+30". Errors: kInvalidArgument, also where there is no such pod.
[[nodiscard]] Result<PodLoss> parse_loss(std::string_view text,
                                         const std::vector<SimulatedPod>& pods);

// One workload, served under each policy in turn.
struct StudyOptions {
  bench::WorkloadSpec workload;
  bench::LoadOptions load;
  SimulationOptions system;  // but for the policies
  std::vector<PolicyPair> policies;
  // Instead of system.pods: the fewest pods of `profile` that keep `goodput`, under the first
  // policy.
  std::optional<RatioOptions> ratio;
  EngineProfile profile;
  Duration jitter{};  // each arrival is shifted by up to so much either way, by the seed
  bench::Slo goodput;
  bool detailed = false;  // results hold each request's times
};

struct StudyResult {
  bench::Json
      json;  // a run's or a comparison's, as `baton bench` writes them, or of "kind" "ratio"
  std::vector<bench::RequestRecord> records;
};

using Watcher =
    std::function<void(const std::string& what, std::size_t done, std::size_t all, Duration now)>;

// Errors: kInvalidArgument for the workload and its file.
[[nodiscard]] Result<StudyResult> run_study(const StudyOptions& options, const Watcher& watcher);

// What the terminal shows: the tables of `baton bench` and what the pods did.
[[nodiscard]] std::string render_study(const bench::Json& result, bool color = false);

// "system" of a run's file.
[[nodiscard]] bench::Json system_json(const SystemFigures& system);

}  // namespace baton::orchestrator::simulate
