#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/openai_request.h"
#include "core/plan.h"

namespace baton::adapters {

// How the two legs follow each other.
enum class Dispatch : std::uint8_t {
  kSequential,  // the decode body is made from the prefill response
  kConcurrent,  // both go out at once; the engines find each other
};

// One upstream request as a connector wants it sent. `fields` are added to the ones that the router
// always writes (host, content type and length, x-request-id, a valid traceparent), but for an
// x-request-id, which replaces the router's.
struct LegRequest {
  std::string method = "POST";
  std::string target;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::string no_handoff;  // of a split's decode leg that goes without one: why
};

// A request that gives a hand-off back, and whom it is for.
struct Release {
  Stage pod = Stage::kPrefill;  // or kDecode: of the plan
  LegRequest request;
  unsigned status = 0;  // of the answer that says it was done; 0: any 2xx
};

// What came back from the prefill leg.
struct PrefillResponse {
  unsigned status = 0;
  std::string body;
};

// An answer that the router gives the client itself.
struct WholeAnswer {
  std::string content_type;
  std::string body;
};

// A GET that discovery makes.
struct FactsTarget {
  std::string target;
  std::uint16_t port = 0;  // 0: that of the pod's API
  bool operator==(const FactsTarget&) const = default;
};

// What a failed leg means for the rest of the request.
enum class LegAction : std::uint8_t {
  kRetryPrefill,  // another prefill pod, a new hand-off; the decode leg is cancelled
  kRetryDecode,   // another decode pod, from the same hand-off
  kRetryPair,     // both again
  kFail,          // the client gets the error
};

// What one hand-off needs; made anew for each pair of legs that share blocks.
struct HandoffKey {
  TransferId transfer_id;
  // The same for protocols that number their hand-offs: 63 random bits.
  [[nodiscard]] std::uint64_t number() const { return transfer_id.low() >> 1; }
  std::string request_id;
  std::string served_model;  // what the pods call the model; empty: as the client named it
};

// One engine family's disaggregation protocol: bodies and order of the two legs. Stateless and
// shared by all threads.
class Connector {
 public:
  virtual ~Connector() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual Dispatch dispatch() const = 0;

  // Why this request cannot be split (n > 1, prompt arrays, …); empty: it can.
  [[nodiscard]] virtual std::string refuses_split(const OpenAiRequest& request) const = 0;

  // Pods of the role `decode` compute no prompts: what is not split goes to pods that do both.
  [[nodiscard]] virtual bool decode_needs_handoff() const { return false; }

  [[nodiscard]] virtual Result<LegRequest> prefill_leg(const OpenAiRequest& request,
                                                       const Plan& plan,
                                                       const HandoffKey& key) const = 0;
  // `prefill` is null where dispatch() is kConcurrent or the plan is decode-only.
  [[nodiscard]] virtual Result<LegRequest> decode_leg(const OpenAiRequest& request,
                                                      const Plan& plan, const HandoffKey& key,
                                                      const PrefillResponse* prefill) const = 0;

  // Whether a good prefill answer bears out what a decode leg that was sent beside it had been told
  // (kConcurrent), or may be told (kSequential). Errors: of the hand-off, which then did not
  // happen.
  [[nodiscard]] virtual Result<void> check_prefill(const OpenAiRequest& /*request*/,
                                                   const Plan& /*plan*/,
                                                   const PrefillResponse& /*prefill*/) const {
    return {};
  }

  // The client's answer, where prefill's is all of it; nothing where a decode leg is to follow.
  // Errors are those of a hand-off. Only asked where dispatch() is kSequential.
  [[nodiscard]] virtual Result<std::optional<WholeAnswer>> whole_answer(
      const OpenAiRequest& /*request*/, const PrefillResponse& /*prefill*/) const {
    return std::nullopt;
  }

  // The prefill pod keeps the blocks for a time only (PoolConfig::lease): a decode leg that would
  // come too late is not sent, since the pod may have given the blocks to another prompt.
  [[nodiscard]] virtual bool has_lease() const { return false; }

  // Decides from a leg's failure. `stage` is the leg that failed; a decode leg that reports
  // Stage::kHandoff failed on the prefill side's account.
  [[nodiscard]] virtual LegAction on_leg_failure(const Error& error) const = 0;

  // How the prefill pod's blocks are given back when no decode leg will fetch them; nothing where
  // the protocol has no way and the engine's own lease is the bound. `prefill` is its answer, if
  // it came and no decode leg was sent with it.
  [[nodiscard]] virtual std::optional<Release> release(const Plan& /*plan*/,
                                                       const HandoffKey& /*key*/,
                                                       const PrefillResponse* /*prefill*/) const {
    return std::nullopt;
  }

  // Reads an error answer of a pod into an Error with the stage that it names.
  [[nodiscard]] virtual Error read_error(unsigned status, std::string_view body,
                                         Stage leg) const = 0;

  // The first event of a good answer's stream may say that the hand-off failed: nothing of a
  // split's answer is passed on before it came.
  [[nodiscard]] virtual bool may_fail_in_stream() const { return false; }

  // The decode pod's usage counts what it fetched as cached: the prefill pod's count is put in.
  [[nodiscard]] virtual bool counts_fetched_as_cached() const { return false; }

  // What discovery asks a pod for, and what the answers, one for each, say. Errors of read_facts
  // that are not retryable say that the pod is not what the configuration takes it for.
  [[nodiscard]] virtual std::vector<FactsTarget> facts_targets(const Pod& /*pod*/) const {
    return {};
  }
  [[nodiscard]] virtual Result<EngineFacts> read_facts(
      const Pod& /*pod*/, std::span<const std::string> /*bodies*/) const {
    return EngineFacts();
  }

  // Asked of a pod once after each of its starts: a small request whose answer shows that the pod
  // speaks this protocol and may tell further facts. `model` is what the pod calls its model.
  // Errors that are not retryable make the pod unusable.
  [[nodiscard]] virtual std::optional<LegRequest> probe(const Pod& /*pod*/,
                                                        std::string_view /*model*/) const {
    return std::nullopt;
  }
  [[nodiscard]] virtual Result<void> read_probe(const Pod& /*pod*/, unsigned /*status*/,
                                                std::string_view /*body*/,
                                                EngineFacts& /*facts*/) const {
    return {};
  }

  // Where the pod serves its metrics.
  [[nodiscard]] virtual std::string metrics_target() const { return "/metrics"; }
};

// The connector of this name as configured (connector_names()); null: there is none. The object
// lives as long as the process.
[[nodiscard]] const Connector* find_connector(std::string_view name);
[[nodiscard]] std::vector<std::string> connector_names();

}  // namespace baton::adapters
