#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/vllm/metrics.h"

namespace baton::adapters::mock::vllm {

// How a vLLM pod hands over KV, both sides: what one of its KV connectors does. Owned by the dress,
// on the pod's thread.
class Handoff {
 public:
  virtual ~Handoff() = default;

  // Looks at the parameters of a leg. False: the engine dies of them.
  [[nodiscard]] virtual bool accept(const std::shared_ptr<Work>& work) = 0;
  // The request ended. What a decode leg never began to fetch is given back to the other side.
  virtual void ended(Work& work) = 0;
  // Its part of the ledger.
  [[nodiscard]] virtual Json state() const = 0;

  // The prefill side

  // A prefill leg's choice has finished and its blocks are kept.
  virtual void keep(Work& work, std::size_t choice) = 0;
  virtual http::Task<Answer> serve(const http::Request& request) = 0;
  // Whether a prefill leg's answer says what the decode leg is to be told.
  [[nodiscard]] virtual bool answer_tells_parameters() const { return true; }

  // The decode side

  // Blocks are ready for a choice's KV: fetches it.
  virtual void fetch(const std::shared_ptr<Work>& work, std::size_t choice) = 0;
  // A decode leg did not reach the engine; `record` may be null.
  virtual void reject(const Json& params, RequestRecord* record) = 0;
  // Whether what has begun to be fetched comes, though the client left.
  [[nodiscard]] virtual bool fetch_outlives_request() const { return false; }
};

// That of `parts.options.engine`.
[[nodiscard]] std::unique_ptr<Handoff> make_handoff(PodParts& parts, Metrics& metrics);

// v1/engine/core.py:1420: each data-parallel rank is an engine of its own.
[[nodiscard]] std::string engine_id_of(const PodParts& parts, std::size_t rank);

// kv_load_failure_policy: `fail` ends the request with the engine's internal error, `recompute`
// computes the prompt here. An empty violation: no rule was broken.
void fail_load(PodParts& parts, Work& work, std::size_t choice, const std::string& why,
               std::string_view violation);

}  // namespace baton::adapters::mock::vllm
