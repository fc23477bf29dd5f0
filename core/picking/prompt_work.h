#pragma once

#include "core/units.h"

namespace baton {

struct PodLoad;

// Prompts that one pod computes, one after another.
struct PromptWork {
  double prompts = 0;
  double uncached_tokens = 0;
  double pairs = 0;  // sum of (cached + uncached)² − cached²

  [[nodiscard]] static PromptWork of(Tokens cached, Tokens uncached);
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
