#pragma once

#include <string>

#include "core/pod.h"

namespace baton {

// Why blocks that one pod computed cannot be read by the other, as far as both have told what they
// are, such as "vLLM 0.31.0 and vLLM 0.32.0"; empty: they can. The same whichever way round, but
// for the order of words. Allocates only where they cannot.
//
// Of engines that hand over between unlike block sizes, some do so wrongly without an error (vLLM
// issue 52234), so those are never paired. Unlike tensor-parallel sizes are.
[[nodiscard]] std::string why_unpairable(const EngineFacts& prefill, const EngineFacts& decode);

}  // namespace baton
