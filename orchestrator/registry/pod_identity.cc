#include "orchestrator/registry/pod_identity.h"

#include <utility>

namespace baton::orchestrator {
namespace {

bool differ(std::string_view a, std::string_view b) { return !a.empty() && !b.empty() && a != b; }

}  // namespace

bool PodIdentity::facts_due(TimePoint now) const {
  return !known_ || doubted_ || !facts_misfit_.empty() || now - facts_at_ >= kFactsInterval;
}

IdentityEvent PodIdentity::on_facts(const Pod& pod, const Result<EngineFacts>& facts,
                                    TimePoint now) {
  if (!facts) {
    if (facts.error().retryable || facts.error().message == facts_misfit_) {
      return IdentityEvent::kNone;
    }
    facts_misfit_ = facts.error().message;
    return IdentityEvent::kChanged;
  }
  facts_at_ = now;
  probe_again_ = probe_again_ || (doubted_ && known_ && facts->epoch == 0);
  doubted_ = false;
  const bool misfit_ended = !std::exchange(facts_misfit_, {}).empty();
  if (known_ && told_ == *facts) {
    return misfit_ended ? IdentityEvent::kChanged : IdentityEvent::kNone;
  }
  const bool new_start = restarted(*facts);
  const bool first = !std::exchange(known_, true);
  told_ = *facts;
  facts_ = told_;
  if (first || new_start) {
    begin_start(pod);
  } else if (answer_ &&
             !connector_->read_probe(pod, answer_->status, answer_->body, facts_).has_value()) {
    answer_.reset();  // no longer good with these facts: probed again
  }
  return new_start ? IdentityEvent::kRestarted : IdentityEvent::kChanged;
}

bool PodIdentity::restarted(const EngineFacts& told) const {
  if (!known_) return false;
  const bool other_epoch = told_.epoch != 0 && told.epoch != 0 && told_.epoch != told.epoch;
  return other_epoch || differ(told_.engine_id, told.engine_id) ||
         differ(told_.engine_version, told.engine_version);
}

void PodIdentity::begin_start(const Pod& pod) {
  ++start_;
  probing_ = false;
  probe_again_ = false;
  answer_.reset();
  probe_misfit_.clear();
  probe_failure_.clear();
  has_probe_ = connector_ != nullptr && connector_->probe(pod, {}).has_value();
}

bool PodIdentity::probe_due(TimePoint now) const {
  if (!known_ || !has_probe_ || probing_ || !facts_misfit_.empty()) return false;
  if (!probe_misfit_.empty()) return probe_again_ || now - probed_at_ >= kProbeAgain;
  return probe_again_ || !answer_;
}

std::optional<PodIdentity::Probe> PodIdentity::next_probe(const Pod& pod, std::string_view model,
                                                          TimePoint now) {
  if (!probe_due(now)) return std::nullopt;
  auto request = connector_->probe(pod, model);
  if (!request) return std::nullopt;
  probing_ = true;
  probe_again_ = false;
  return Probe{std::move(*request), start_};
}

IdentityEvent PodIdentity::on_probe(const Pod& pod, std::uint64_t start,
                                    const Result<ProbeAnswer>& answer, TimePoint now) {
  if (start != start_) return IdentityEvent::kNone;
  probing_ = false;
  probed_at_ = now;
  EngineFacts facts = told_;
  Result<void> read = answer ? connector_->read_probe(pod, answer->status, answer->body, facts)
                             : std::unexpected(answer.error());
  if (!read && read.error().retryable) {
    probe_failure_ = read.error().message;
    probe_again_ = true;
    return IdentityEvent::kNone;
  }
  probe_failure_.clear();
  if (!read) {
    answer_.reset();
    const bool same = probe_misfit_ == read.error().message;
    probe_misfit_ = read.error().message;
    return same ? IdentityEvent::kNone : IdentityEvent::kChanged;
  }
  probe_misfit_.clear();
  const bool other = answer_ && differ(facts_.engine_id, facts.engine_id);
  if (other) ++start_;
  const bool same = answer_ && facts_ == facts;
  answer_ = *answer;
  facts_ = std::move(facts);
  if (other) return IdentityEvent::kRestarted;
  return same ? IdentityEvent::kNone : IdentityEvent::kChanged;
}

const std::string& PodIdentity::misfit() const {
  return facts_misfit_.empty() ? probe_misfit_ : facts_misfit_;
}

std::string PodIdentity::unusable_because() const {
  if (!misfit().empty()) return misfit();
  if (!known_ || !has_probe_ || answer_) return {};
  if (probe_failure_.empty()) return "its probe is not answered yet";
  return "its probe failed: " + probe_failure_;
}

}  // namespace baton::orchestrator
