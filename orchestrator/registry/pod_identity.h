#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "adapters/engines/connector.h"
#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/registry/pod_inspection.h"

namespace baton::orchestrator {

enum class IdentityEvent : std::uint8_t {
  kNone,
  kChanged,    // facts, or whether the pod can be used
  kRestarted,  // another process answers: nothing that was believed of the pod holds
};

// What a pod is, by what it says itself: decides when it is asked for its facts and when it is
// probed, notices that it restarted, and tells why it cannot be used. Owned by the registry, on the
// control thread. Pure: time and answers are passed in.
//
// Facts are asked for while they are unknown, after a failed check or request, and every
// kFactsInterval; the caller also asks where the metrics tell another start of the process. A pod
// whose connector has a probe is probed once after each start, and can be used after a good answer.
// Where nothing tells one start from another (engines whose metrics name no start), it is probed
// again after a failed check, and used meanwhile.
class PodIdentity {
 public:
  static constexpr Duration kFactsInterval = std::chrono::seconds(10);
  // A pod that failed its probe for good is probed again: somebody may have put it right.
  static constexpr Duration kProbeAgain = std::chrono::seconds(30);

  explicit PodIdentity(const adapters::Connector* connector) : connector_(connector) {}

  [[nodiscard]] bool facts_due(TimePoint now) const;
  IdentityEvent on_facts(const Pod& pod, const Result<EngineFacts>& facts, TimePoint now);
  void on_failed_check() { doubted_ = true; }

  // The probe that is due now, if one is; on_probe() is to follow. `model`: what the pod calls it.
  struct Probe {
    adapters::LegRequest request;
    std::uint64_t start = 0;  // of the process, counted
  };
  [[nodiscard]] std::optional<Probe> next_probe(const Pod& pod, std::string_view model,
                                                TimePoint now);
  // `start` is that of the probe: an answer for a process that is gone changes nothing.
  IdentityEvent on_probe(const Pod& pod, std::uint64_t start, const Result<ProbeAnswer>& answer,
                         TimePoint now);

  [[nodiscard]] bool known() const { return known_; }
  [[nodiscard]] const EngineFacts& facts() const { return facts_; }
  // Why the pod is not what the configuration takes it for; empty: it is, as far as is known.
  [[nodiscard]] const std::string& misfit() const;
  [[nodiscard]] const std::string& probe_failure() const { return probe_failure_; }  // of the last
  // Why it takes no requests; empty: it may.
  [[nodiscard]] std::string unusable_because() const;

 private:
  [[nodiscard]] bool restarted(const EngineFacts& told) const;
  [[nodiscard]] bool probe_due(TimePoint now) const;
  void begin_start(const Pod& pod);

  const adapters::Connector* connector_;
  bool known_ = false;
  bool doubted_ = false;  // a check failed since the facts were read
  TimePoint facts_at_{};
  EngineFacts told_;   // without what the probe told
  EngineFacts facts_;  // with it
  std::string facts_misfit_;

  std::uint64_t start_ = 0;
  bool has_probe_ = false;
  bool probing_ = false;
  bool probe_again_ = false;
  std::optional<ProbeAnswer> answer_;  // the last good one of this start
  TimePoint probed_at_{};
  std::string probe_misfit_;
  std::string probe_failure_;
};

}  // namespace baton::orchestrator
