#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>

#include "adapters/engines/llama_cpp/llama_handles.h"
#include "tests/unit/llama_cpp/engine_harness.h"

namespace baton::adapters {
namespace {

// All logits of the first token (as log-softmax of the whole vocabulary) and the ids that follow.
struct WholeAnswer {
  std::vector<float> first;
  std::vector<TokenId> ids;
  bool operator==(const WholeAnswer&) const = default;
};

WholeAnswer whole_answer_of(const RecordingSink& sink) {
  WholeAnswer answer{{}, sink.ids()};
  if (sink.tokens().empty()) return answer;
  std::vector<TokenLogprob> all = sink.tokens()[0].top;
  std::ranges::sort(all, {}, &TokenLogprob::id);
  for (const TokenLogprob& one : all) answer.first.push_back(one.logprob);
  return answer;
}

EngineRequest with_all_logprobs(std::vector<TokenId> prompt, const std::string& salt = "") {
  EngineRequest request = greedy(std::move(prompt), 6);
  request.sampling.logprobs = 1 << 20;
  request.cache_salt = salt;
  return request;
}

// Lengths around every boundary: of a block, of a chunk, of two chunks, and in between.
const std::vector<int> kLengths = {1,   2,   3,   63,  64,  65,  66,  100,  127, 128,
                                   129, 130, 192, 193, 255, 256, 257, 258,  300, 319,
                                   320, 321, 322, 384, 511, 512, 513, 514,  575, 576,
                                   577, 578, 640, 700, 768, 769, 770, 1025, 1500};

TEST(Exactness, AReusedPrefixGivesTheSameBits) {
  const auto engine = start_engine();
  for (const int length : kLengths) {
    const std::vector<TokenId> prompt = random_prompt(length, 11);
    const std::string salt = std::to_string(length);
    const WholeAnswer computed = whole_answer_of(*run(*engine, with_all_logprobs(prompt, salt)));
    const auto again = run(*engine, with_all_logprobs(prompt, salt));
    EXPECT_EQ(again->usage().cached_tokens, (length - 1) / 64 * 64) << length;
    EXPECT_EQ(computed, whole_answer_of(*again)) << "prompt of " << length;
  }
}

TEST(Exactness, APrefixOfAnotherPromptGivesTheSameBits) {
  const auto engine = start_engine();
  for (const int shared : {64, 100, 128, 200, 256, 300, 384, 450, 512, 600}) {
    for (const int length : {shared + 1, shared + 40, shared + 64, shared + 129, shared + 300}) {
      const std::string salt = std::to_string(shared) + "/" + std::to_string(length);
      std::vector<TokenId> other = random_prompt(shared, 11);
      const std::vector<TokenId> rest = random_prompt(77, 12);
      other.insert(other.end(), rest.begin(), rest.end());
      const std::vector<TokenId> prompt = random_prompt(length, 11);

      const WholeAnswer computed =
          whole_answer_of(*run(*engine, with_all_logprobs(prompt, "cold" + salt)));
      (void)run(*engine, with_all_logprobs(other, salt));
      const auto reused = run(*engine, with_all_logprobs(prompt, salt));
      EXPECT_GE(reused->usage().cached_tokens, shared / 64 * 64 - 64) << shared << " " << length;
      EXPECT_EQ(computed, whole_answer_of(*reused)) << shared << " tokens shared of " << length;
    }
  }
}

TEST(Exactness, WhatRanBeforeDoesNotMatter) {
  const auto engine = start_engine();
  const WholeAnswer alone =
      whole_answer_of(*run(*engine, with_all_logprobs(random_prompt(500, 1), "a")));
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (unsigned i = 0; i < 8; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    const auto id =
        engine->submit(greedy(random_prompt(100 * static_cast<int>(i + 1), i), 50), sinks.back());
    if (i % 3 == 0) engine->cancel(id);
  }
  for (const auto& sink : sinks) ASSERT_TRUE(sink->wait());
  EXPECT_EQ(alone, whole_answer_of(*run(*engine, with_all_logprobs(random_prompt(500, 1), "b"))));
}

// Quantised weights go through other matrix kernels, some repacked into rows of four or eight.
TEST(Exactness, HoldsForQuantisedWeights) {
  init_llama();
  const ScratchFolder folder;
  for (const llama_ftype type :
       {LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_MOSTLY_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_K_M}) {
    EngineOptions options = small_options();
    options.loras.clear();
    options.model_path = folder.path() + "/quantised.gguf";
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = type;
    params.nthread = 1;
    ASSERT_EQ(
        llama_model_quantize(test_model().model_path.c_str(), options.model_path.c_str(), &params),
        0U);
    const auto engine = start_engine(options);
    for (const int length : {65, 130, 258, 321, 390, 513, 600}) {
      const WholeAnswer computed =
          whole_answer_of(*run(*engine, with_all_logprobs(random_prompt(length, 3), "x")));
      (void)run(*engine, greedy(random_prompt(length - 50, 3), 1));
      const auto reused = run(*engine, with_all_logprobs(random_prompt(length, 3)));
      EXPECT_EQ(reused->usage().cached_tokens, (length - 51) / 64 * 64);
      EXPECT_EQ(computed, whole_answer_of(*reused)) << "type " << type << ", prompt of " << length;
    }
  }
}

TEST(Exactness, TheChunkSizeDoesNotMatter) {
  EngineOptions options = small_options();
  const auto wide = start_engine(options);
  options.prefill_chunk = Tokens(64);
  const auto narrow = start_engine(options);
  for (const int length : {65, 300, 513, 700}) {
    EXPECT_EQ(whole_answer_of(*run(*wide, with_all_logprobs(random_prompt(length, 5)))),
              whole_answer_of(*run(*narrow, with_all_logprobs(random_prompt(length, 5)))))
        << length;
  }
}

}  // namespace
}  // namespace baton::adapters
