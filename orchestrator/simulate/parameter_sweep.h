#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "orchestrator/simulate/study.h"

namespace baton::orchestrator::simulate {

// One parameter of a study that takes several values in turn.
struct ParameterSweep {
  std::string parameter;       // as `baton simulate --sweep` names it
  std::vector<double> values;  // ascending, each once
};
// "rate=2,4,8". Errors: kInvalidArgument that lists the parameters, or names the value.
[[nodiscard]] Result<ParameterSweep> parse_parameter_sweep(std::string_view text);

// The study with the parameter at this value; pods of a role are taken away from its end, or added
// with the profile of its last one. Errors: kInvalidArgument where the study cannot have it.
[[nodiscard]] Result<StudyOptions> study_at(StudyOptions study, std::string_view parameter,
                                            double value);

// Runs the study at each value under each of its policies, always with the same seeds. The result
// is of "kind" "parameter_sweep": `points`, one a value and policy, each with its figures, which
// are means over the study's repeats, and its `run` as `baton bench` writes it. Errors: those of
// study_at() and run_study().
[[nodiscard]] Result<StudyResult> run_parameter_sweep(const StudyOptions& study,
                                                      const ParameterSweep& sweep,
                                                      const Watcher& watcher);

// The table: one row a value and policy.
[[nodiscard]] std::string render_parameter_sweep(const bench::Json& sweep, bool color = false);

}  // namespace baton::orchestrator::simulate
