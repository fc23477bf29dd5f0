#pragma once

#include <cstdint>
#include <optional>

#include "core/picking/latency_model.h"
#include "core/picking/pod_load.h"
#include "core/picking/prompt_work.h"
#include "core/units.h"

namespace baton {

// What a pod that decodes a stream had to do at one moment of it.
struct StreamMark {
  TimePoint at{};
  double batch = 0;
  double kv_tokens = 0;
  PromptWork computed;  // there since the pod was first seen, without the prompts' count

  [[nodiscard]] static StreamMark of(const PodLoad& load, TimePoint now);
};

inline constexpr std::int64_t kLeastPacedTokens = 8;

// The pace of a stream of `tokens` between its first and its last. What `model` says that prompts
// computed beside it took is taken off; none where hardly anything is left, or it was short.
[[nodiscard]] std::optional<LatencyModel::StepSeen> pace_of(const LatencyModel& model,
                                                            std::uint32_t pod,
                                                            const StreamMark& first,
                                                            const StreamMark& last,
                                                            std::int64_t tokens);

}  // namespace baton
