#pragma once

#include <optional>
#include <string_view>

#include "orchestrator/bench/generator/request_record.h"

namespace baton::orchestrator::bench {

// What a Baton router says of one answer in its header fields x-baton-timing, x-baton-prefill and
// x-baton-decode (docs/life-of-a-request.md). nullopt: it says nothing, so it is no Baton router.
[[nodiscard]] std::optional<StageTimes> read_stage_times(std::string_view timing,
                                                         std::string_view prefill_pod,
                                                         std::string_view decode_pod);

}  // namespace baton::orchestrator::bench
