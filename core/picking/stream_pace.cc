#include "core/picking/stream_pace.h"

namespace baton {

StreamMark StreamMark::of(const PodLoad& load, TimePoint now) {
  const auto value = [](const auto& count) {
    return static_cast<double>(count.load(std::memory_order_relaxed));
  };
  return {now,
          value(load.running_decodes),
          value(load.reserved_kv_tokens),
          {0, value(load.computed_tokens), value(load.computed_pairs)}};
}

std::optional<LatencyModel::StepSeen> pace_of(const LatencyModel& model, std::uint32_t pod,
                                              const StreamMark& first, const StreamMark& last,
                                              std::int64_t tokens) {
  if (tokens < kLeastPacedTokens) return std::nullopt;
  const PromptWork beside{0, last.computed.uncached_tokens - first.computed.uncached_tokens,
                          last.computed.pairs - first.computed.pairs};
  const double whole = to_seconds(last.at - first.at);
  const double decoding = whole - model.prefill_seconds(pod, beside);
  constexpr double kLeastShare = 0.25;
  if (decoding < kLeastShare * whole) return std::nullopt;
  const auto steps = static_cast<double>(tokens - 1);
  return LatencyModel::StepSeen{pod, (first.batch + last.batch) / 2,
                                (first.kv_tokens + last.kv_tokens) / 2, steps, decoding / steps};
}

}  // namespace baton
