#pragma once

#include <algorithm>
#include <cstdint>

#include "core/units.h"

namespace baton {

struct PodLoad;

// Prompts that one pod computes, one after another.
struct PromptWork {
  // Of one prompt; of more than 10^9 tokens as of so many, whose square a number still holds.
  [[nodiscard]] static std::int64_t pairs_of(Tokens cached, Tokens uncached) {
    constexpr std::int64_t kMost = 1'000'000'000;
    const std::int64_t held = std::clamp<std::int64_t>(cached.count(), 0, kMost);
    const std::int64_t fresh = std::clamp<std::int64_t>(uncached.count(), 0, kMost);
    return fresh * (2 * held + fresh);
  }

  double prompts = 0;
  double uncached_tokens = 0;
  double pairs = 0;  // sum of (cached + uncached)² − cached²

  [[nodiscard]] static PromptWork of(Tokens cached, Tokens uncached) {
    return {1.0, static_cast<double>(uncached.count()),
            static_cast<double>(pairs_of(cached, uncached))};
  }
  // What the router has in flight on a pod.
  [[nodiscard]] static PromptWork waiting_at(const PodLoad& load);

  PromptWork& operator+=(const PromptWork& other) {
    prompts += other.prompts;
    uncached_tokens += other.uncached_tokens;
    pairs += other.pairs;
    return *this;
  }
};

}  // namespace baton
