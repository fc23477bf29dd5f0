#include "orchestrator/planning/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "core/pairing.h"
#include "core/picking/cost_terms.h"
#include "orchestrator/planning/admission.h"
#include "orchestrator/planning/alternatives.h"
#include "prefill_router/prefill_router.h"

namespace baton::orchestrator {
namespace {

// What a second of streaming counts beside one of waiting for the first token: as much, or as the
// SLO has it, which allows `tpot` for each token of an answer where it allows `ttft` for the wait.
double stream_weight(const PlanRequest& request) {
  constexpr double kMost = 50.0;
  if (!request.slo.ttft || !request.slo.tpot) return 1.0;
  const auto output =
      static_cast<double>(std::max<std::int64_t>(request.expected_output.count(), 1));
  const double tokens = to_seconds(*request.slo.ttft) / to_seconds(*request.slo.tpot);
  return std::clamp(tokens / output, 1 / kMost, kMost);
}

// A second beyond the SLO costs so many of those within, up to this share of it: by how much more
// it is missed makes no difference.
constexpr double kExcessWeight = 4.0;
constexpr double kMostExcess = 0.1;

double excess_over(const std::optional<Duration>& slo, double seconds) {
  if (!slo) return 0.0;
  const double wanted = to_seconds(*slo);
  return std::clamp(seconds - wanted, 0.0, kMostExcess * wanted);
}

// What of a candidate's cost is not this request's own waiting for its first token.
double of_streams(const PlanCandidate& candidate) {
  return candidate.score[CostTerm::kTokens] + candidate.score[CostTerm::kHarm];
}

std::span<const PlanCandidate> usable(const Candidates& candidates) {
  const auto end = std::ranges::find_if_not(
      candidates, [](const PlanCandidate& c) { return c.rejected_because.empty(); });
  return {candidates.begin(), end};
}

}  // namespace

Choice::Choice(const PlanRequest& request, const Snapshot& snapshot, const Picking& picking,
               const Picks& picks, TimePoint now)
    : request_(request),
      snapshot_(snapshot),
      picking_(picking),
      picks_(picks),
      stream_weight_(stream_weight(request)),
      now_(now) {}

void Choice::ask_decode(decode::Wanted wanted) {
  decode::Shortlists lists = decode::shortlists(wanted, pick_decode(), snapshot_, picking_, now_);
  if (wanted != decode::Wanted::kSingles) decodes_ = std::move(lists.pairs);
  if (wanted != decode::Wanted::kPairs) singles_ = std::move(lists.singles);
}

Options Choice::pairs(std::string& why_none) {
  if (request_.prefill_on != nullptr) {
    PlanCandidate& done = prefills_.emplace_back();
    done.pod = request_.prefill_on;
    done.cached = request_.prompt;
  } else {
    prefills_ = prefill::shortlist(pick_prefill(), snapshot_, picking_, now_);
  }
  Options options;
  std::string why_apart;
  for (const PlanCandidate& prefill : usable(prefills_)) {
    for (const PlanCandidate& decode : usable(decodes_)) {
      if (prefill.pod->index == decode.pod->index) continue;
      const EngineFacts& from = prefill.pod->pod.facts;
      const EngineFacts& to = decode.pod->pod.facts;
      if (what_keeps_apart(from, to) == Apart::kNothing) {
        options.push_back(pair_of(prefill, decode));
      } else if (why_apart.empty()) {
        why_apart = why_unpairable(from, to);
      }
    }
  }
  note(options);
  if (!options.empty()) return options;
  why_none = usable(prefills_).empty() ? "no prefill pod can take it now"
                                       : "no prefill pod fits a decode pod";
  if (!why_apart.empty()) why_none += ": " + why_apart;
  return options;
}

Options Choice::singles() {
  Options options;
  for (const PlanCandidate& pod : usable(singles_)) {
    const double cost = pod.score.seconds();
    options.push_back({nullptr, &pod, cost, cost - of_streams(pod), pace_of(pod), in_flight(pod)});
    options.back().cost_seconds += excess_cost(options.back());
  }
  note(options);
  return options;
}

void Choice::keep_slo(Options& pairs, Options& singles) const {
  if (request_.slo.admission != Admission::kRefuse) return;
  const auto misses = [this](const Option& option) { return verdict_of(option).misses(); };
  if (std::ranges::all_of(pairs, misses) && std::ranges::all_of(singles, misses)) return;
  for (Options* options : {&pairs, &singles}) {
    options->erase(std::ranges::remove_if(*options, misses).begin(), options->end());
  }
}

Plan Choice::plan_of(const Option& option, std::string reason) {
  Plan plan;
  plan.kind = option.prefill == nullptr ? PlanKind::kDecodeOnly : PlanKind::kSplit;
  plan.pool = snapshot_.pool;
  plan.decode = option.decode->pod;
  plan.decode_cached = option.decode->cached;
  if (option.prefill != nullptr) {
    plan.prefill = option.prefill->pod;
    plan.prefill_cached = option.prefill->cached;
  }
  if (!request_.lora.empty()) {
    const PodEntry& computes = option.prefill == nullptr ? *plan.decode : *plan.prefill;
    plan.adapter = lora_residency(computes.state, picking_.loads.of(computes.index).adapters,
                                  request_.lora, SentAdapters::key_of(request_.lora));
  }
  plan.prompt = request_.prompt;
  plan.predicted_ttft_seconds = option.ttft_seconds;
  plan.predicted_tpot_seconds = option.tpot_seconds;
  plan.verdict = verdict_of(option);
  plan.reason = std::move(reason);
  if (request_.explain) {
    plan.chosen = priced(option);
    plan.alternatives = alternatives_to(plan.chosen, weighed_);
    for (PlanAlternative& other : plan.alternatives) {
      if (other.differs == PlanAlternative::Differs::kKind) other.ruled_out_by = other_kind_not_;
      if (request_.slo.admission == Admission::kRefuse && other.option.misses_slo &&
          !plan.verdict.misses()) {
        other.ruled_out_by = "it is predicted to miss the SLO";
      }
    }
    const Candidates& decodes = option.prefill == nullptr ? singles_ : decodes_;
    plan.decode_candidates.assign(decodes.begin(), decodes.end());
    plan.prefill_candidates.assign(prefills_.begin(), prefills_.end());
  }
  return plan;
}

void Choice::weigh_singles(std::string ruled_out_by) {
  other_kind_not_ = std::move(ruled_out_by);
  ask_decode(decode::Wanted::kSingles);
  (void)singles();
}

void Choice::weigh_pairs(std::string ruled_out_by) {
  other_kind_not_ = std::move(ruled_out_by);
  ask_decode(decode::Wanted::kPairs);
  std::string why_none;
  (void)pairs(why_none);
}

std::unexpected<Error> Choice::no_decode_pod() {
  if (request_.decode_needs_handoff && !request_.refuses_split.empty() && !has_both()) {
    return fail(ErrorCode::kInvalidArgument, Stage::kRouter,
                fmt::format("This model's pods cannot serve such a request: {}. It takes a pod "
                            "that both computes prompts and decodes.",
                            request_.refuses_split));
  }
  PickRequest asked = pick_decode();
  asked.explain = true;
  std::map<std::string_view, int> reasons;
  for (const PlanCandidate& candidate :
       decode::shortlists(decode::Wanted::kSingles, asked, snapshot_, picking_, now_).singles) {
    ++reasons[candidate.rejected_because];
  }
  std::string message;
  if (reasons.empty()) {
    message = fmt::format("pool {} has no decode pod", snapshot_.pool);
  } else {
    message = fmt::format("no decode pod of pool {} can take the request now:", snapshot_.pool);
    for (const auto& [reason, count] : reasons) message += fmt::format(" {} {},", count, reason);
    message.pop_back();
  }
  return fail(ErrorCode::kUnavailable, Stage::kDecode, std::move(message), true);
}

PickRequest Choice::pick_prefill() const {
  return {.prompt = request_.prompt,
          .lora = request_.lora,
          .lora_key = SentAdapters::key_of(request_.lora),
          .expected_output = request_.expected_output,
          .decode_needs_handoff = request_.decode_needs_handoff,
          .excluded = request_.excluded_prefill,
          .explain = request_.explain,
          .stream_weight = stream_weight_,
          .policy = picks_.prefill,
          .turn = picks_.prefill_turn,
          .seed = picks_.seed};
}

PickRequest Choice::pick_decode() const {
  PickRequest picked = pick_prefill();
  picked.excluded = request_.excluded_decode;
  picked.policy = picks_.decode;
  picked.turn = picks_.decode_turn;
  picked.seed = ~picks_.seed;
  return picked;
}

bool Choice::has_both() const {
  return std::ranges::any_of(snapshot_.pods,
                             [](const auto& entry) { return entry->pod.role == Role::kBoth; });
}

int Choice::in_flight(const PlanCandidate& candidate) const {
  return picking_.loads.of(candidate.pod->index).in_flight.load(std::memory_order_relaxed);
}

Option Choice::pair_of(const PlanCandidate& prefill, const PlanCandidate& decode) const {
  const Tokens missing = request_.prompt - decode.cached;
  const Bytes bytes = decode.pod->pod.facts.kv_bytes(missing);
  const LatencyModel& model = picking_.model;
  const double moving = model.transfer_seconds(prefill.pod->index, decode.pod->index, bytes);
  const double computing = prefill.score[CostTerm::kPrefill];
  const double exposed = std::max(0.0, moving - computing) + model.handoff_seconds();
  // Prompts that are to be computed on the decode pod are, meanwhile.
  const double ahead = decode.score[CostTerm::kAdmit];
  const double admit = std::max(0.0, ahead - (prefill.score[CostTerm::kQueue] + computing));
  Option option{&prefill, &decode, 0.0, 0.0, pace_of(decode), 0};
  option.cost_seconds = prefill.score.seconds() + decode.score.seconds() -
                        decode.score[CostTerm::kTransfer] + exposed - ahead + admit;
  option.ttft_seconds = option.cost_seconds - of_streams(prefill) - of_streams(decode);
  option.cost_seconds += excess_cost(option);
  option.in_flight = in_flight(prefill) + in_flight(decode);
  option.exposed_seconds = exposed;
  option.admit_seconds = admit;
  return option;
}

SloVerdict Choice::verdict_of(const Option& option) const {
  const PlanCandidate& decode = *option.decode;
  const bool split = option.prefill != nullptr;
  const double ahead = split ? option.prefill->score[CostTerm::kQueue] + option.admit_seconds
                             : decode.score[CostTerm::kAdmit];
  return judge(request_,
               {decode.pod->index, option.ttft_seconds, decode.score[CostTerm::kStep],
                ahead + decode.score[CostTerm::kRoom]},
               picking_.loads.of(decode.pod->index), picking_.model, now_);
}

PlanOption Choice::priced(const Option& option) const {
  const PlanCandidate& decode = *option.decode;
  PlanOption priced;
  priced.decode = decode.pod;
  priced.decode_cached = decode.cached;
  priced.cost_seconds = option.cost_seconds;
  priced.ttft_seconds = option.ttft_seconds;
  priced.tpot_seconds = option.tpot_seconds;
  priced.misses_slo = verdict_of(option).misses();
  if (option.prefill != nullptr) {
    priced.prefill = option.prefill->pod;
    priced.prefill_cached = option.prefill->cached;
    priced.terms = option.prefill->score.terms();
  }
  for (PlanTerm term : decode.score.terms()) {
    if (option.prefill == nullptr) {
      if (term.name == "admit") term.name = "queue";
    } else if (term.name == "admit") {
      term.seconds = option.admit_seconds;
    } else if (term.name == "transfer") {
      term = {"handoff", option.exposed_seconds};
    }
    const auto same = std::ranges::find(priced.terms, term.name, &PlanTerm::name);
    if (same == priced.terms.end()) {
      priced.terms.push_back(term);
    } else {
      same->seconds += term.seconds;
    }
  }
  if (const double excess = excess_cost(option); excess > 0) {
    priced.terms.push_back({"slo_excess", excess});
  }
  return priced;
}

void Choice::note(const Options& options) {
  if (!request_.explain) return;
  for (const Option& option : options) weighed_.push_back(priced(option));
}

double Choice::pace_of(const PlanCandidate& decode) const {
  const double step = decode.score[CostTerm::kStep];
  if (request_.expected_output.count() <= 1) return step;
  return pace_seconds(step, picking_.loads.of(decode.pod->index), now_);
}

double Choice::excess_cost(const Option& option) const {
  const auto tokens = static_cast<double>(request_.expected_output.count());
  return kExcessWeight * (excess_over(request_.slo.ttft, option.ttft_seconds) +
                          stream_weight_ * kPaceWeight * tokens *
                              excess_over(request_.slo.tpot, option.tpot_seconds));
}

}  // namespace baton::orchestrator
