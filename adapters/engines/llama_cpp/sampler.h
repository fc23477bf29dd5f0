#pragma once

#include <llama.h>

#include <span>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/llama_handles.h"

namespace baton::adapters {

// Chooses the tokens of one request. Owned by its sequence, on the engine thread. With temperature
// 0 it takes the most likely token, the lowest id among equals; else it draws, and with the same
// seed and logits draws the same tokens on any pod.
class Sampler {
 public:
  // Without a seed in `params`, `random_seed` is used.
  Sampler(const SamplingParams& params, std::uint64_t random_seed);

  [[nodiscard]] TokenId pick(std::span<const float> logits);

 private:
  LlamaSamplerPtr chain_;  // null: greedy
  std::vector<llama_token_data> candidates_;
};

// Log-softmax of `logits` at `id`, with the `count` most likely alternatives, best first.
struct Logprobs {
  float chosen = 0.0F;
  std::vector<TokenLogprob> top;
};
[[nodiscard]] Logprobs logprobs_of(std::span<const float> logits, TokenId id, int count);

}  // namespace baton::adapters
