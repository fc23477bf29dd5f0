#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/connector.h"
#include "adapters/http/client.h"
#include "core/error.h"
#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/registry/engine_metrics.h"

namespace baton::orchestrator {

// What it takes to ask a pod: where it is, and what it is taken for.
struct PodDoor {
  std::shared_ptr<adapters::http::Client> client;
  Pod pod;            // its facts are what was known before
  std::string model;  // that it has to serve
  const adapters::Connector* connector = nullptr;
  Duration limit{};  // for each question
};

// What `GET /v1/models` lists.
struct ServedModels {
  std::vector<std::string> models;
  std::vector<std::string> adapters;  // those that name a parent
};

// What one look at a pod brought.
struct PodLook {
  Result<void> health;  // of `GET /health`; where it failed, nothing else was asked
  Result<EngineMetrics> metrics;
  // Nothing where they were not asked for. Errors that are not retryable say that the pod is not
  // what it is taken for.
  std::optional<Result<EngineFacts>> facts;
  std::optional<ServedModels> served;  // where facts were good and it told its models
};

// Asks a pod for its health and metrics, and for its facts where `known_start` is nothing or
// another start of the process than the metrics tell (EngineMetrics::started_at). What engines say
// in their metrics alone is added to the facts.
[[nodiscard]] adapters::http::Task<PodLook> look_at_pod(PodDoor door,
                                                        std::optional<std::uint64_t> known_start);

struct ProbeAnswer {
  unsigned status = 0;
  std::string body;
};
// Sends a connector's probe. Errors: kUnavailable, kTimeout, kUpstream; all are retryable.
[[nodiscard]] adapters::http::Task<Result<ProbeAnswer>> send_probe(PodDoor door,
                                                                   adapters::LegRequest request);

// Whether a pod that lists these models serves `model`. The error says what it serves, and how to
// put that right.
[[nodiscard]] Result<void> check_served(const ServedModels& served, std::string_view model);
// Nothing where it is no list of models.
[[nodiscard]] std::optional<ServedModels> read_models(std::string_view body);

}  // namespace baton::orchestrator
