#include "adapters/engines/llama_cpp/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace baton::adapters {
namespace {

SamplingParams drawing(std::uint64_t seed) {
  SamplingParams params;
  params.temperature = 1.0F;
  params.seed = seed;
  return params;
}

std::vector<TokenId> draws(const SamplingParams& params, const std::vector<float>& logits,
                           std::uint64_t random_seed = 1) {
  Sampler sampler(params, random_seed);
  std::vector<TokenId> ids;
  for (int i = 0; i < 200; ++i) ids.push_back(sampler.pick(logits));
  return ids;
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  SamplingParams params;
  params.temperature = 0.0F;
  Sampler sampler(params, 1);
  EXPECT_EQ(sampler.pick(std::vector<float>{0.0F, 3.0F, 1.0F, 3.0F}), 1);
}

TEST(Sampler, TheSeedDecidesTheDraws) {
  const std::vector<float> logits(50, 0.0F);
  EXPECT_EQ(draws(drawing(42), logits, 1), draws(drawing(42), logits, 2));
  EXPECT_NE(draws(drawing(42), logits), draws(drawing(43), logits));
  SamplingParams unseeded = drawing(0);
  unseeded.seed.reset();
  EXPECT_NE(draws(unseeded, logits, 1), draws(unseeded, logits, 2));
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const std::vector<float> logits = {std::log(0.7F), std::log(0.3F)};
  const std::vector<TokenId> ids = draws(drawing(5), logits);
  const auto zeros = std::ranges::count(ids, 0);
  EXPECT_GT(zeros, 110);
  EXPECT_LT(zeros, 170);
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F),
                                     std::log(0.05F)};
  SamplingParams params = drawing(5);
  params.top_k = 1;
  for (const TokenId id : draws(params, logits)) EXPECT_EQ(id, 0);
  params = drawing(5);
  params.top_p = 0.7F;
  for (const TokenId id : draws(params, logits)) EXPECT_LE(id, 1);
  params = drawing(5);
  params.min_p = 0.25F;
  for (const TokenId id : draws(params, logits)) EXPECT_LE(id, 2);
}

TEST(Logprobs, AreALogSoftmaxBestFirst) {
  const std::vector<float> logits = {1.0F, 2.0F, 3.0F};
  const Logprobs found = logprobs_of(logits, 0, 2);
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  EXPECT_NEAR(found.chosen, std::log(std::exp(1.0) / sum), 1e-6);
  ASSERT_EQ(found.top.size(), 2U);
  EXPECT_EQ(found.top[0].id, 2);
  EXPECT_NEAR(found.top[0].logprob, std::log(std::exp(3.0) / sum), 1e-6);
  EXPECT_EQ(found.top[1].id, 1);
  EXPECT_EQ(logprobs_of(logits, 1, 0).top.size(), 0U);
  EXPECT_EQ(logprobs_of(logits, 1, 99).top.size(), 3U);
}

}  // namespace
}  // namespace baton::adapters
