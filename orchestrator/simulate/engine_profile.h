#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/engine_model/engine.h"
#include "core/error.h"
#include "core/units.h"

namespace baton::orchestrator::simulate {

// One kind of simulated pod: an engine on some machine. A value.
struct EngineProfile {
  std::string name;
  std::string source;  // where its figures are from
  engine_model::EngineModelOptions engine;
  Bytes bytes_per_token{0};  // of KV; 0: a hand-off moves nothing
  Duration start_up{};       // from its start to its first request
};

[[nodiscard]] const std::vector<EngineProfile>& engine_profiles();

// NAME of a built-in profile or the path of a JSON file (docs/simulate.md), with `*FACTOR` behind
// it for a machine slower by that factor. Errors: kInvalidArgument, which names the known ones or
// FILE and the key that is wrong.
[[nodiscard]] Result<EngineProfile> find_engine_profile(std::string_view text);

// A profile as the JSON that find_engine_profile() reads.
[[nodiscard]] std::string profile_json(const EngineProfile& profile);

}  // namespace baton::orchestrator::simulate
