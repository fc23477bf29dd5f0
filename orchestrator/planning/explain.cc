#include "orchestrator/planning/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/json_fields.h"
#include "orchestrator/planning/admission.h"
#include "orchestrator/planning/alternatives.h"

namespace baton::orchestrator {
namespace {

constexpr std::size_t kMostTextBytes = 200;

// Quoted, short, and fit for a header: anything beyond printable ASCII becomes '?'.
std::string json_string(std::string_view text) {
  std::string plain(text.substr(0, kMostTextBytes));
  std::ranges::replace_if(plain, [](char c) { return c < 0x20 || c > 0x7E; }, '?');
  return json_quote(plain);
}

std::string name_of(const std::shared_ptr<const PodEntry>& pod) {
  return pod == nullptr ? "null" : json_string(pod->pod.name);
}

std::string terms_json(const std::vector<PlanTerm>& terms) {
  std::string out;
  for (const PlanTerm& term : terms) {
    out += fmt::format("{}{}:{:.3f}", out.empty() ? "" : ",", json_string(term.name),
                       term.seconds * 1e3);
  }
  return "{" + out + "}";
}

std::string candidate_json(const PlanCandidate& candidate) {
  std::string out =
      fmt::format("{{\"pod\":{},\"cached\":{}", name_of(candidate.pod), candidate.cached.count());
  if (!candidate.score.empty()) {
    out += fmt::format(",\"cost_ms\":{:.3f},\"terms\":{}", candidate.score.seconds() * 1e3,
                       terms_json(candidate.score.terms()));
  }
  if (!candidate.rejected_because.empty()) {
    out += fmt::format(",\"rejected\":{}", json_string(candidate.rejected_because));
  }
  return out + "}";
}

std::vector<std::string> candidates_json(const std::vector<PlanCandidate>& candidates) {
  std::vector<std::string> out;
  for (const PlanCandidate& candidate : candidates) out.push_back(candidate_json(candidate));
  return out;
}

std::size_t size_of(const std::vector<std::string>& parts) {
  std::size_t size = 0;
  for (const std::string& part : parts) size += part.size() + 1;
  return size;
}

std::string verdict_json(const SloVerdict& verdict) {
  return fmt::format(
      "{{\"ttft_ms\":{:.3f},\"tpot_ms\":{:.3f},\"ttft_over_ms\":{:.3f},\"tpot_over_ms\":{:.3f},"
      "\"refused\":{},\"retry_after_s\":{}}}",
      verdict.ttft_seconds * 1e3, verdict.tpot_seconds * 1e3, verdict.ttft_over_seconds * 1e3,
      verdict.tpot_over_seconds * 1e3, verdict.is_refused,
      verdict.misses() ? retry_after_seconds(verdict) : 0);
}

// An open object.
std::string head_json(const Plan& plan) {
  return fmt::format(
      "{{\"kind\":\"{}\",\"pool\":{},\"prefill\":{},\"decode\":{},\"prompt_tokens\":{},"
      "\"prefill_cached\":{},\"decode_cached\":{},\"ttft_ms\":{:.3f},\"tpot_ms\":{:.3f},"
      "\"verdict\":{},\"reason\":{}",
      plan.kind == PlanKind::kSplit ? "split" : "decode_only", json_string(plan.pool),
      name_of(plan.prefill), name_of(plan.decode), plan.prompt.count(), plan.prefill_cached.count(),
      plan.decode_cached.count(), plan.predicted_ttft_seconds * 1e3,
      plan.predicted_tpot_seconds * 1e3, verdict_json(plan.verdict), json_string(plan.reason));
}

std::string_view name_of(PlanAlternative::Differs what) {
  switch (what) {
    case PlanAlternative::Differs::kPrefillPod: return "prefill";
    case PlanAlternative::Differs::kDecodePod: return "decode";
    case PlanAlternative::Differs::kKind: return "kind";
  }
  return "";
}

std::string alternative_json(const PlanOption& chosen, const PlanAlternative& alternative) {
  const PlanOption& option = alternative.option;
  return fmt::format(
      "{{\"differs\":\"{}\",\"prefill\":{},\"decode\":{},\"prefill_cached\":{},"
      "\"decode_cached\":{},\"cost_ms\":{:.3f},\"gap_ms\":{:.3f},\"ttft_ms\":{:.3f},"
      "\"tpot_ms\":{:.3f},\"ties\":{},\"ruled_out_by\":{},\"differences\":{},\"what\":{}}}",
      name_of(alternative.differs), name_of(option.prefill), name_of(option.decode),
      option.prefill_cached.count(), option.decode_cached.count(), option.cost_seconds * 1e3,
      (option.cost_seconds - chosen.cost_seconds) * 1e3, option.ttft_seconds * 1e3,
      option.tpot_seconds * 1e3, alternative.ties,
      alternative.ruled_out_by.empty() ? "null" : json_string(alternative.ruled_out_by),
      terms_json(differences(chosen, alternative)),
      json_string(what_would_change(chosen, alternative)));
}

}  // namespace

std::string explain_json(const Plan& plan) {
  const std::string head = head_json(plan);
  auto prefills = candidates_json(plan.prefill_candidates);
  auto decodes = candidates_json(plan.decode_candidates);
  constexpr std::size_t kFrame = 80;  // names and brackets of the two lists, and the count
  std::size_t left_out = 0;
  while (head.size() + kFrame + size_of(prefills) + size_of(decodes) > kExplainBytes &&
         !(prefills.empty() && decodes.empty())) {
    (size_of(prefills) > size_of(decodes) ? prefills : decodes).pop_back();
    ++left_out;
  }

  std::string out = head;
  if (!prefills.empty()) {
    out += fmt::format(",\"prefill_candidates\":[{}]", fmt::join(prefills, ","));
  }
  if (!decodes.empty()) {
    out += fmt::format(",\"decode_candidates\":[{}]", fmt::join(decodes, ","));
  }
  if (left_out > 0) out += fmt::format(",\"left_out\":{}", left_out);
  return out + "}";
}

std::string plan_json(const Plan& plan) {
  std::vector<std::string> alternatives;
  for (const PlanAlternative& alternative : plan.alternatives) {
    alternatives.push_back(alternative_json(plan.chosen, alternative));
  }
  return fmt::format(
      "{},\"cost_ms\":{:.3f},\"terms\":{},\"alternatives\":[{}],\"prefill_candidates\":[{}],"
      "\"decode_candidates\":[{}]}}",
      head_json(plan), plan.chosen.cost_seconds * 1e3, terms_json(plan.chosen.terms),
      fmt::join(alternatives, ","), fmt::join(candidates_json(plan.prefill_candidates), ","),
      fmt::join(candidates_json(plan.decode_candidates), ","));
}

}  // namespace baton::orchestrator
