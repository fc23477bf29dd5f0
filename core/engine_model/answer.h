#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/tokenizer.h"

namespace baton::engine_model {

// Which ids an answer is made of.
struct AnswerVocabulary {
  TokenId first = 3;  // answers draw from [first, last)
  TokenId last = 1024;
  TokenId end_of_text = 2;
  int mean_tokens = 0;  // until the end of text, where nothing ends the answer before; 0: never
};

struct Candidate {
  TokenId token = 0;
  double logprob = 0.0;
};

// What an engine's KV of these tokens is good for, as a number: answers from KV of other tokens, or
// of another adapter, differ.
[[nodiscard]] std::uint64_t kv_content(std::span<const TokenId> tokens, std::string_view lora);

// An answer that is a pure function of the KV that it is made from (and of the seed, where the
// temperature is above 0), as a model's is. So the answer of a split equals that of one server,
// and wrong KV shows. A value of one sequence.
class AnswerStream {
 public:
  struct Sampling {
    bool greedy = true;
    std::uint64_t seed = 0;  // ignored where greedy
  };
  AnswerStream(const AnswerVocabulary& vocabulary, std::uint64_t content, Sampling sampling);

  // The next token. It may be end_of_text where the vocabulary has a mean length and `may_end`.
  [[nodiscard]] Candidate next(bool may_end);
  // The `count` likeliest tokens at the place of the last next(), likeliest first.
  [[nodiscard]] std::vector<Candidate> candidates(int count) const;

 private:
  [[nodiscard]] TokenId draw(std::uint64_t state, int rank) const;
  [[nodiscard]] static double logprob(std::uint64_t state, int rank);

  AnswerVocabulary vocabulary_;
  Sampling sampling_;
  std::uint64_t state_;
  std::uint64_t place_ = 0;  // the state at the last token
};

}  // namespace baton::engine_model
