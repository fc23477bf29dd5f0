#pragma once

#include <algorithm>

#include "core/picking/prompt_work.h"

namespace baton {

// What is asked of a prediction: beyond these it answers as at them.
inline constexpr double kMostTokens = 1e9;
inline constexpr double kMostPairs = kMostTokens * kMostTokens;
inline constexpr double kMostSequences = 1e6;
inline constexpr double kMostBytes = 1e15;

inline double in_range(double value, double most) {
  return value > 0.0 ? std::min(value, most) : 0.0;  // NaN too is 0
}

// Seconds of a prefill, by what LatencyModel fits: pairs of uncached tokens, and those of one with
// a cached one.
struct PrefillFit {
  double per_prompt;
  double per_token;
  double per_pair;
  double per_cached_pair;

  // Of the pairs those among uncached tokens. Of several prompts they are not known, and taken to
  // be of one length.
  static double pairs_among_uncached(double prompts, double tokens, double pairs) {
    return std::min(pairs, tokens * tokens / std::max(prompts, 1.0));
  }

  [[nodiscard]] double seconds(const PromptWork& work) const {
    const double tokens = in_range(work.uncached_tokens, kMostTokens);
    if (tokens <= 0.0) return 0.0;
    const double prompts = in_range(work.prompts, kMostTokens);
    const double pairs = in_range(work.pairs, kMostPairs);
    const double own = pairs_among_uncached(prompts, tokens, pairs);
    return per_prompt * prompts + per_token * tokens + per_pair * own +
           per_cached_pair * (pairs - own);
  }
};

// Seconds of a decode step.
struct StepFit {
  double base;
  double per_sequence;
  double per_token;
  double per_square;

  // KV beyond the top of the bend takes what the top takes.
  [[nodiscard]] double up_to_top(double kv) const {
    return per_square < 0.0 ? std::min(kv, per_token / (-2.0 * per_square)) : kv;
  }

  [[nodiscard]] double seconds(double batch, double kv_tokens) const {
    const double kv = up_to_top(in_range(kv_tokens, kMostTokens));
    return base + per_sequence * in_range(batch, kMostSequences) +
           std::max(0.0, kv * (per_token + per_square * kv));
  }
};

}  // namespace baton
