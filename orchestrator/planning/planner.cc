#include "orchestrator/planning/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cmath>
#include <compare>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "core/pairing.h"
#include "core/picking/cost_terms.h"
#include "core/picking/pick.h"
#include "decode_router/decode_router.h"
#include "orchestrator/planning/admission.h"
#include "orchestrator/planning/alternatives.h"
#include "prefill_router/prefill_router.h"

namespace baton::orchestrator {
namespace {

constexpr Duration kToldBeliefTime = std::chrono::seconds(60);

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

// A second beyond the SLO costs so many of those within.
constexpr double kExcessWeight = 4.0;

double excess_over(const std::optional<Duration>& slo, double seconds) {
  return slo ? std::max(0.0, seconds - to_seconds(*slo)) : 0.0;
}

// One way to serve the request: a pair, or one pod for both stages.
struct Option {
  const PlanCandidate* prefill = nullptr;  // null: decode-only
  const PlanCandidate* decode = nullptr;
  double cost_seconds = 0.0;
  double ttft_seconds = 0.0;
  double tpot_seconds = 0.0;
  int in_flight = 0;
  double exposed_seconds = 0.0;  // of a pair: what of "transfer" and "admit" prefill does not hide
  double admit_seconds = 0.0;
};
using Options = boost::container::small_vector<Option, kShortlistPods * kShortlistPods>;

// What of a candidate's cost is not this request's own waiting for its first token.
double of_streams(const PlanCandidate& candidate) {
  return candidate.score[CostTerm::kTokens] + candidate.score[CostTerm::kHarm];
}

std::span<const PlanCandidate> usable(const Candidates& candidates) {
  const auto end = std::ranges::find_if_not(
      candidates, [](const PlanCandidate& c) { return c.rejected_because.empty(); });
  return {candidates.begin(), end};
}

// How both stages pick, and what those of others count and draw by.
struct Picks {
  Policy prefill = Policy::kPredicted;
  Policy decode = Policy::kPredicted;
  std::uint64_t prefill_turn = 0;
  std::uint64_t decode_turn = 0;
  std::uint64_t seed = 0;
  [[nodiscard]] bool predicts() const {
    return prefill == Policy::kPredicted && decode == Policy::kPredicted;
  }
};

// The shortlists of one request and the options that they make.
class Choice {
 public:
  Choice(const PlanRequest& request, const Snapshot& snapshot, const Picking& picking,
         const Picks& picks, TimePoint now)
      : request_(request),
        snapshot_(snapshot),
        picking_(picking),
        picks_(picks),
        stream_weight_(stream_weight(request)),
        now_(now) {}

  // Asks the decode router once for all that will be wanted of it.
  void ask_decode(decode::Wanted wanted) {
    decode::Shortlists lists = decode::shortlists(wanted, pick_decode(), snapshot_, picking_, now_);
    if (wanted != decode::Wanted::kSingles) decodes_ = std::move(lists.pairs);
    if (wanted != decode::Wanted::kPairs) singles_ = std::move(lists.singles);
  }

  // All compatible pairs; why there is none, where there is none.
  [[nodiscard]] Options pairs(std::string& why_none) {
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

  [[nodiscard]] Options singles() {
    Options options;
    for (const PlanCandidate& pod : usable(singles_)) {
      const double cost = pod.score.seconds();
      options.push_back(
          {nullptr, &pod, cost, cost - of_streams(pod), pace_of(pod), in_flight(pod)});
      options.back().cost_seconds += excess_cost(options.back());
    }
    note(options);
    return options;
  }

  // Where a miss is refused, what keeps the SLO goes before what costs less.
  void keep_slo(Options& pairs, Options& singles) const {
    if (request_.slo.admission != Admission::kRefuse) return;
    const auto misses = [this](const Option& option) { return verdict_of(option).misses(); };
    if (std::ranges::all_of(pairs, misses) && std::ranges::all_of(singles, misses)) return;
    for (Options* options : {&pairs, &singles}) {
      options->erase(std::ranges::remove_if(*options, misses).begin(), options->end());
    }
  }

  [[nodiscard]] Plan plan_of(const Option& option, std::string reason) {
    Plan plan;
    plan.kind = option.prefill == nullptr ? PlanKind::kDecodeOnly : PlanKind::kSplit;
    plan.pool = snapshot_.pool;
    plan.decode = option.decode->pod;
    plan.decode_cached = option.decode->cached;
    if (option.prefill != nullptr) {
      plan.prefill = option.prefill->pod;
      plan.prefill_cached = option.prefill->cached;
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

  // For the explanation alone: what the kind that cannot be taken would have cost.
  void weigh_singles(std::string ruled_out_by) {
    other_kind_not_ = std::move(ruled_out_by);
    ask_decode(decode::Wanted::kSingles);
    (void)singles();
  }
  void weigh_pairs(std::string ruled_out_by) {
    other_kind_not_ = std::move(ruled_out_by);
    ask_decode(decode::Wanted::kPairs);
    std::string why_none;
    (void)pairs(why_none);
  }

  // No pod can decode: says how many were turned down for what.
  [[nodiscard]] std::unexpected<Error> no_decode_pod() {
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

 private:
  [[nodiscard]] PickRequest pick_prefill() const {
    return {.prompt = request_.prompt,
            .lora = request_.lora,
            .expected_output = request_.expected_output,
            .decode_needs_handoff = request_.decode_needs_handoff,
            .excluded = request_.excluded_prefill,
            .explain = request_.explain,
            .stream_weight = stream_weight_,
            .policy = picks_.prefill,
            .turn = picks_.prefill_turn,
            .seed = picks_.seed};
  }
  [[nodiscard]] PickRequest pick_decode() const {
    PickRequest picked = pick_prefill();
    picked.excluded = request_.excluded_decode;
    picked.policy = picks_.decode;
    picked.turn = picks_.decode_turn;
    picked.seed = ~picks_.seed;
    return picked;
  }

  [[nodiscard]] bool has_both() const {
    return std::ranges::any_of(snapshot_.pods,
                               [](const auto& entry) { return entry->pod.role == Role::kBoth; });
  }

  [[nodiscard]] int in_flight(const PlanCandidate& candidate) const {
    return picking_.loads.of(candidate.pod->index).in_flight.load(std::memory_order_relaxed);
  }

  // Prefill hides as much of the transfer as it takes itself; the decode router could not know.
  [[nodiscard]] Option pair_of(const PlanCandidate& prefill, const PlanCandidate& decode) const {
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

  [[nodiscard]] SloVerdict verdict_of(const Option& option) const {
    const PlanCandidate& decode = *option.decode;
    const bool split = option.prefill != nullptr;
    const double ahead = split ? option.prefill->score[CostTerm::kQueue] + option.admit_seconds
                               : decode.score[CostTerm::kAdmit];
    return judge(request_,
                 {decode.pod->index, option.ttft_seconds, decode.score[CostTerm::kStep],
                  ahead + decode.score[CostTerm::kRoom]},
                 picking_.loads.of(decode.pod->index), picking_.model, now_);
  }

  // With its terms as they count in the option, where both stages' add up.
  [[nodiscard]] PlanOption priced(const Option& option) const {
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

  void note(const Options& options) {
    if (!request_.explain) return;
    for (const Option& option : options) weighed_.push_back(priced(option));
  }

  // Predicted seconds a token after the first, with what prompts beside it take.
  [[nodiscard]] double pace_of(const PlanCandidate& decode) const {
    const auto later = request_.expected_output.count() - 1;
    const double step = decode.score[CostTerm::kStep];
    if (later <= 0) return step;
    const double weight = stream_weight_ * kPaceWeight * static_cast<double>(later);
    return std::max(step, decode.score[CostTerm::kTokens] / weight);
  }

  [[nodiscard]] double excess_cost(const Option& option) const {
    const auto tokens = static_cast<double>(request_.expected_output.count());
    return kExcessWeight * (excess_over(request_.slo.ttft, option.ttft_seconds) +
                            stream_weight_ * kPaceWeight * tokens *
                                excess_over(request_.slo.tpot, option.tpot_seconds));
  }

  const PlanRequest& request_;
  const Snapshot& snapshot_;
  const Picking& picking_;
  const Picks& picks_;
  const double stream_weight_;
  TimePoint now_;
  Candidates prefills_;
  Candidates decodes_;
  Candidates singles_;
  std::vector<PlanOption> weighed_;  // for the explanation
  std::string other_kind_not_;       // why what is not the plan's kind cannot be taken
};

const Option& cheapest(const Options& options) {
  return *std::ranges::min_element(options, {}, &Option::cost_seconds);
}

struct Drawn {
  const Option* option = nullptr;
  std::size_t tied = 0;
};

// The candidate that computes the prompt.
const PlanCandidate& computes(const Option& option) {
  return option.prefill == nullptr ? *option.decode : *option.prefill;
}

// Of two that cost the same: less to compute, since that is time of others, then less in flight.
std::strong_ordering preferred(const Option& a, const Option& b) {
  const auto held = computes(b).cached <=> computes(a).cached;
  return held != 0 ? held : a.in_flight <=> b.in_flight;
}

// The cheapest; of those as cheap the preferred one, and of several such one by the seed.
Drawn draw(const Options& options, std::uint64_t tie_seed) {
  const Option& best = cheapest(options);
  const double most = best.cost_seconds + tie_margin(best.ttft_seconds);
  boost::container::small_vector<const Option*, kShortlistPods * kShortlistPods> drawn;
  std::size_t tied = 0;
  for (const Option& option : options) {
    if (option.cost_seconds > most) continue;
    ++tied;
    const auto order =
        drawn.empty() ? std::strong_ordering::equal : preferred(option, *drawn.front());
    if (order > 0) continue;
    if (order < 0) drawn.clear();
    drawn.push_back(&option);
  }
  // Fibonacci hashing, so that seeds that count up are spread too.
  const std::uint64_t spread = (tie_seed * 0x9E3779B97F4A7C15) >> 32;
  return {drawn[spread % drawn.size()], tied};
}

std::string why_this(std::size_t tied, std::size_t all, std::string_view what) {
  if (tied == 1) return fmt::format("least predicted cost of {} {}", all, what);
  return fmt::format("most held, then least in flight of {} {} as cheap, of {}", tied, what, all);
}

}  // namespace

Result<Plan> Planner::plan(const PlanRequest& request, const Snapshot& snapshot, TimePoint now,
                           std::uint64_t tie_seed) const {
  holders_.find(request.blocks, request.prompt, prefixes_, now);
  const Picking picking{loads_, holders_, model_};
  const Picks picks{prefill_policy_, decode_policy_, prefill_turn_, decode_turn_, tie_seed};
  Choice choice(request, snapshot, picking, picks, now);

  const bool may_join =
      request.split == Split::kAuto && request.prefill_on == nullptr && picks.predicts();
  Options none;
  Options pairs;
  std::string why_whole;
  if (request.split == Split::kNever) {
    why_whole = "the pool never splits";
  } else if (!request.refuses_split.empty()) {
    why_whole = request.refuses_split;
  } else {
    choice.ask_decode(may_join ? decode::Wanted::kBoth : decode::Wanted::kPairs);
    pairs = choice.pairs(why_whole);
  }

  if (why_whole.empty() && may_join) {
    Options singles = choice.singles();
    choice.keep_slo(pairs, singles);
    if (!singles.empty() &&
        (pairs.empty() || cheapest(singles).cost_seconds < cheapest(pairs).cost_seconds)) {
      return choice.plan_of(*draw(singles, tie_seed).option,
                            "computing the prompt where it is decoded costs less than a split");
    }
  }
  if (why_whole.empty()) {
    if (request.explain && request.prefill_on == nullptr && !may_join) {
      choice.weigh_singles(request.split == Split::kAuto ? "the policies split what they can"
                                                         : "the pool always splits");
    }
    choice.keep_slo(pairs, none);
    const Drawn drawn = draw(pairs, tie_seed);
    return choice.plan_of(*drawn.option, why_this(drawn.tied, pairs.size(), "pairs"));
  }

  choice.ask_decode(decode::Wanted::kSingles);
  Options singles = choice.singles();
  if (singles.empty()) return choice.no_decode_pod();
  choice.keep_slo(none, singles);
  if (request.explain && request.split == Split::kNever && request.refuses_split.empty()) {
    choice.weigh_pairs(why_whole);
  }
  return choice.plan_of(*draw(singles, tie_seed).option, why_whole);
}

PlanAccount Planner::commit(const Plan& plan, const PlanRequest& request, TimePoint now) {
  const Tokens kv = plan.prompt + request.expected_output;
  PodLoad& decode = loads_.of(plan.decode->index);
  PodLoad& computes = plan.prefill == nullptr ? decode : loads_.of(plan.prefill->index);
  if (computes.waiting_prompts.load(std::memory_order_relaxed) == 0) {
    computes.busy_since.store(now, std::memory_order_relaxed);
  }
  if (!request.decode_is_tentative) ++decode_turn_;
  if (plan.prefill != nullptr && request.prefill_on == nullptr) ++prefill_turn_;
  for (const PrefixChain& chain : prefix_chains(request.blocks, plan.prompt)) {
    for (const auto* pod : {plan.decode.get(), plan.prefill.get()}) {
      if (pod != nullptr) prefixes_.believe(chain.elements, pod->index, now, now + kBeliefTime);
    }
  }
  if (plan.kind == PlanKind::kDecodeOnly) {
    return {{},
            LoadTicket::for_decode_only(decode, plan.prompt - plan.decode_cached, kv,
                                        plan.decode_cached, now)};
  }
  return {LoadTicket::for_prefill(computes, plan.prompt - plan.prefill_cached, plan.prefill_cached,
                                  now),
          LoadTicket::for_decode(decode, kv)};
}

void Planner::withdraw(const Plan& plan, const PlanRequest& request) {
  for (const PrefixChain& chain : prefix_chains(request.blocks, plan.prompt)) {
    if (chain.elements.empty()) continue;
    const auto unheld = [&chain](Tokens cached) {
      const double depth = std::ceil(static_cast<double>(cached.count()) / chain.tokens_each);
      return chain.elements.subspan(
          std::min(chain.elements.size(), static_cast<std::size_t>(depth)));
    };
    prefixes_.retract(unheld(plan.decode_cached), plan.decode->index);
    if (plan.prefill != nullptr) {
      prefixes_.retract(unheld(plan.prefill_cached), plan.prefill->index);
    }
  }
}

void Planner::confirm(const Plan& plan, const PlanRequest& request, TimePoint now) {
  for (const PrefixChain& chain : prefix_chains(request.blocks, plan.prompt)) {
    for (const auto* pod : {plan.decode.get(), plan.prefill.get()}) {
      if (pod == nullptr) continue;
      if (request.caches_are_told) {
        prefixes_.believe(chain.elements, pod->index, now, now + kToldBeliefTime);
      } else {
        prefixes_.confirm(chain.elements, pod->index, now);
      }
    }
  }
}

}  // namespace baton::orchestrator
