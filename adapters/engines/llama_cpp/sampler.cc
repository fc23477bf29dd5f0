#include "adapters/engines/llama_cpp/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace baton::adapters {
namespace {

// libllama seeds are 32 bits wide, and one value means "draw one".
std::uint32_t fold_seed(std::uint64_t seed) {
  const auto folded = static_cast<std::uint32_t>(seed ^ (seed >> 32));
  return folded == LLAMA_DEFAULT_SEED ? 0 : folded;
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::uint64_t random_seed) {
  constexpr float kGreedy = 1e-5F;  // a logit over less would not be finite
  if (params.temperature < kGreedy) return;
  chain_.reset(llama_sampler_chain_init({.no_perf = true}));
  const auto add = [&](llama_sampler* stage) { llama_sampler_chain_add(chain_.get(), stage); };
  if (params.top_k > 0) add(llama_sampler_init_top_k(params.top_k));
  if (params.top_p < 1.0F) add(llama_sampler_init_top_p(params.top_p, 1));
  if (params.min_p > 0.0F) add(llama_sampler_init_min_p(params.min_p, 1));
  add(llama_sampler_init_temp(params.temperature));
  add(llama_sampler_init_dist(fold_seed(params.seed.value_or(random_seed))));
}

TokenId Sampler::pick(std::span<const float> logits) {
  if (chain_ == nullptr) {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }
  candidates_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates_[i] = {static_cast<llama_token>(i), logits[i], 0.0F};
  }
  llama_token_data_array choice{candidates_.data(), candidates_.size(), -1, false};
  llama_sampler_apply(chain_.get(), &choice);
  const TokenId id = choice.data[choice.selected].id;
  llama_sampler_accept(chain_.get(), id);
  return id;
}

Logprobs logprobs_of(std::span<const float> logits, TokenId id, int count) {
  const float highest = *std::ranges::max_element(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - highest));
  const double log_sum = std::log(sum) + highest;
  const auto logprob = [&](TokenId token) {
    return static_cast<float>(logits[static_cast<std::size_t>(token)] - log_sum);
  };

  Logprobs out{.chosen = logprob(id), .top = {}};
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto wanted =
      std::min<std::size_t>(static_cast<std::size_t>(std::max(count, 0)), order.size());
  const auto better = [&](TokenId a, TokenId b) {
    const float la = logits[static_cast<std::size_t>(a)];
    const float lb = logits[static_cast<std::size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(wanted), better);
  for (std::size_t i = 0; i < wanted; ++i) out.top.push_back({order[i], logprob(order[i])});
  return out;
}

}  // namespace baton::adapters
