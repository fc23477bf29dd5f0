#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/engine_model/engine.h"
#include "core/picking/output_estimate.h"
#include "core/picking/stream_pace.h"
#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/planning/planner.h"

namespace baton::orchestrator::simulate {

// What is assumed of pods at first, wrong by a factor: above 1 they are taken to be slower.
[[nodiscard]] LatencyPrior prior_of(double factor);

// One router: what a server has of its own.
struct Replica {
  explicit Replica(const LatencyPrior& prior) : model(prior), planner(loads, prefixes, model) {}
  LoadTable loads;
  PrefixIndex prefixes{Bytes(256LL << 20)};  // as a server has by default
  LatencyModel model;
  Planner planner;
  OutputEstimate outputs;
};

// One request that is being served. Owned by the simulation.
struct Request {
  std::size_t index = 0;
  Replica* replica = nullptr;
  PlanRequest wanted;
  Plan plan;
  PlanAccount account;
  std::vector<TokenId> ids;
  bool is_quoted = false;   // by the next turn of its session
  std::vector<int> answer;  // where it is
  int max_tokens = 0;
  int attempt = 0;
  bool in_prefill = false;
  bool in_transfer = false;
  bool is_kept = false;   // the prompt's KV, by the prefill pod
  bool is_alone = false;  // no other prompt was to be computed where the prompt is
  TimePoint came_at;
  TimePoint sent_at;  // of the leg that computes the prompt
  TimePoint prefilled_at;
  TimePoint fetch_began_at;
  TimePoint landed_at;
  Bytes fetched{0};
  StreamMark stream_began;
  TimePoint last_token_at;
  bench::RequestRecord record;

  // Puts the times of the prompt, of which the engine gave the first token, into the record.
  void note_prefill(const engine_model::EngineEvent& event, TimePoint now);
  // Tell the router what it would learn: that the pod computed the prompt, and how fast the stream
  // that ends was.
  void tell_prefill(std::uint32_t pod, Tokens cached, TimePoint now);
  void tell_pace(TimePoint now);
};

}  // namespace baton::orchestrator::simulate
