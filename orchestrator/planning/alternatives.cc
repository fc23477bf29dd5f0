#include "orchestrator/planning/alternatives.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

namespace baton::orchestrator {
namespace {

using Differs = PlanAlternative::Differs;

constexpr double kSameSeconds = 1e-6;

std::uint32_t index_of(const std::shared_ptr<const PodEntry>& pod) {
  return pod == nullptr ? std::numeric_limits<std::uint32_t>::max() : pod->index;
}

bool is_split(const PlanOption& option) { return option.prefill != nullptr; }

bool differs_by(Differs what, const PlanOption& chosen, const PlanOption& other) {
  const bool same_kind = is_split(chosen) == is_split(other);
  switch (what) {
    case Differs::kPrefillPod:
      return same_kind && index_of(chosen.prefill) != index_of(other.prefill);
    case Differs::kDecodePod: return same_kind && index_of(chosen.decode) != index_of(other.decode);
    case Differs::kKind: return !same_kind;
  }
  return false;
}

// In the words of a sentence; "slo_excess" is no time that could be shorter.
std::string_view words_for(std::string_view term) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kWords = {{
      {"harm", "harm to running streams"},
      {"handoff", "hand-off"},
      {"admit", "wait for prompts ahead"},
      {"lora", "adapter load"},
      {"slo_excess", "excess over the SLO"},
  }};
  const auto* const found = std::ranges::find(kWords, term, &decltype(kWords)::value_type::first);
  return found == kWords.end() ? term : found->second;
}

double value_of(const PlanOption& option, std::string_view name) {
  const auto found = std::ranges::find(option.terms, name, &PlanTerm::name);
  return found == option.terms.end() ? 0.0 : found->seconds;
}

std::string name_of(const PlanOption& option) {
  if (!is_split(option)) return "decode-only on " + option.decode->pod.name;
  return option.prefill->pod.name + " and " + option.decode->pod.name;
}

// Beside the chosen one; a stage's pod alone where nothing else differs.
std::string name_beside(const PlanOption& chosen, const PlanOption& other) {
  if (is_split(chosen) && is_split(other)) {
    if (index_of(chosen.decode) == index_of(other.decode)) {
      return fmt::format("{} instead of {}", other.prefill->pod.name, chosen.prefill->pod.name);
    }
    if (index_of(chosen.prefill) == index_of(other.prefill)) {
      return fmt::format("{} instead of {}", other.decode->pod.name, chosen.decode->pod.name);
    }
  }
  return name_of(other) + " instead";
}

std::string signed_terms(const std::vector<PlanTerm>& terms) {
  constexpr std::size_t kMost = 3;
  std::vector<std::string> parts;
  for (const PlanTerm& term : terms) {
    if (parts.size() == kMost) break;
    parts.push_back(fmt::format("{} {:+.1f}", words_for(term.name), term.seconds * 1e3));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

std::vector<PlanAlternative> alternatives_to(const PlanOption& chosen,
                                             std::span<const PlanOption> weighed) {
  const PlanOption* cheapest = &chosen;
  for (const PlanOption& option : weighed) {
    if (is_split(option) == is_split(chosen) && option.cost_seconds < cheapest->cost_seconds) {
      cheapest = &option;
    }
  }
  const double most = cheapest->cost_seconds + tie_margin(cheapest->ttft_seconds);
  std::vector<PlanAlternative> found;
  for (const Differs what : {Differs::kPrefillPod, Differs::kDecodePod, Differs::kKind}) {
    const PlanOption* best = nullptr;
    for (const PlanOption& option : weighed) {
      if (!differs_by(what, chosen, option)) continue;
      if (best == nullptr || option.cost_seconds < best->cost_seconds) best = &option;
    }
    if (best == nullptr) continue;
    const bool ties = what != Differs::kKind && best->cost_seconds <= most;
    found.push_back({what, *best, ties, {}});
  }
  return found;
}

std::vector<PlanTerm> differences(const PlanOption& chosen, const PlanAlternative& alternative) {
  std::vector<PlanTerm> terms;
  for (const PlanTerm& term : alternative.option.terms) {
    terms.push_back({term.name, term.seconds - value_of(chosen, term.name)});
  }
  for (const PlanTerm& term : chosen.terms) {
    const auto& others = alternative.option.terms;
    if (std::ranges::find(others, term.name, &PlanTerm::name) == others.end()) {
      terms.push_back({term.name, -term.seconds});
    }
  }
  std::erase_if(terms, [](const PlanTerm& t) { return std::abs(t.seconds) < kSameSeconds; });
  std::ranges::sort(terms, std::ranges::greater(),
                    [](const PlanTerm& t) { return std::abs(t.seconds); });
  return terms;
}

std::string what_would_change(const PlanOption& chosen, const PlanAlternative& alternative) {
  const PlanOption& other = alternative.option;
  const double gap = other.cost_seconds - chosen.cost_seconds;
  const std::string name = name_beside(chosen, other);
  const std::string amount =
      fmt::format("{:.1f} ms {}", std::abs(gap) * 1e3, gap < 0 ? "less" : "more");
  if (!alternative.ruled_out_by.empty()) {
    return fmt::format("{} would cost {}, but {}", name, amount, alternative.ruled_out_by);
  }
  if (alternative.ties) {
    return fmt::format("{} is as good ({}): the least in flight is taken, then a draw decides",
                       name, amount);
  }
  if (gap <= 0)
    return fmt::format("{} costs {}, but more than the cheapest of this kind", name, amount);

  const std::vector<PlanTerm> terms = differences(chosen, alternative);
  const auto most = std::ranges::max_element(terms, {}, &PlanTerm::seconds);
  // An excess over the SLO follows from the other terms, so that no one of them tells the amount.
  const bool in_excess = std::ranges::find(terms, "slo_excess", &PlanTerm::name) != terms.end();
  if (!in_excess && most != terms.end() && value_of(other, most->name) >= gap) {
    const bool of_one_pod = name.find(" instead of ") != std::string::npos;
    return fmt::format("{}, if {} {} were {:.1f} ms shorter", name, of_one_pod ? "its" : "the",
                       words_for(most->name), gap * 1e3);
  }
  return fmt::format("{} costs {}: {}", name, amount, signed_terms(terms));
}

}  // namespace baton::orchestrator
