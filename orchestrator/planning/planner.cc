#include "orchestrator/planning/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cmath>
#include <compare>
#include <string_view>
#include <utility>

#include "core/picking/pick.h"
#include "orchestrator/planning/alternatives.h"
#include "orchestrator/planning/choice.h"

namespace baton::orchestrator {
namespace {

constexpr Duration kToldBeliefTime = std::chrono::seconds(60);

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
  if (!request.lora.empty()) {
    const SentAdapters::Key adapter = SentAdapters::key_of(request.lora);
    decode.adapters.sent(adapter, now);
    if (&computes != &decode) computes.adapters.sent(adapter, now);
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
