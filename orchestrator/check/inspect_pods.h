#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/config/config.h"
#include "orchestrator/registry/pod_inspection.h"

namespace baton::orchestrator {

// A configured pod and what it told when it was asked once.
struct InspectedPod {
  std::string pool;
  std::string model;               // that the pool serves
  std::vector<std::string> loras;  // of the pool
  std::string connector;           // of the pool
  Pod pod;                         // with its facts, as far as it told them
  PodLook look;
  std::optional<Result<void>> probe;  // none: the connector has none for it, or it was not sent
  std::vector<std::string> speaks;    // connectors that do understand it, where the pool's does not
};

struct InspectionLimits {
  Duration question = std::chrono::seconds(5);
  Duration probe = std::chrono::seconds(30);  // a busy pod answers after those that came before
};

// Asks every configured pod, all at once, as the router would. Returns when all have answered or
// their limits have passed, in the order of the configuration.
[[nodiscard]] std::vector<InspectedPod> inspect_pods(const Config& config,
                                                     const InspectionLimits& limits);

}  // namespace baton::orchestrator
