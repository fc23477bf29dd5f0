#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "orchestrator/simulate/engine_profile.h"
#include "orchestrator/simulate/robust_fit.h"

namespace baton::orchestrator::simulate {

// A result of `baton bench --save-detailed` or of vLLM's `bench serve`, and where it is from.
struct MeasuredResult {
  std::string file;
  nlohmann::ordered_json json;
};

struct ProfileFit {
  EngineProfile profile;
  RobustFit prefill;  // of prefill_base, prefill_token and prefill_pair
  RobustFit step;     // of step_base, step_sequence and step_context_token
};

// What an engine takes for a prompt and for a step, from results: prompts that were computed alone,
// and gaps between the tokens of streams while no prompt was computed beside them. Where a Baton
// router told which pods served a request, each pod is looked at by itself; else all requests were
// served by one. What results do not tell (blocks, hand-offs) is that of `like`. `source` of the
// profile says what it was fitted from and how well. Errors: kInvalidArgument, which names the file
// and what is wrong, or says what to measure.
[[nodiscard]] Result<ProfileFit> fit_profile(const std::vector<MeasuredResult>& results,
                                             const EngineProfile& like, std::string_view name);

// The table: each coefficient, and how far the fit is off.
[[nodiscard]] std::string render_profile_fit(const ProfileFit& fit);

}  // namespace baton::orchestrator::simulate
