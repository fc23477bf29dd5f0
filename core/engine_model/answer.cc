#include "core/engine_model/answer.h"

#include "core/prompt_blocks.h"

namespace baton::engine_model {
namespace {

// The finaliser of MurmurHash3: every bit of the result depends on every bit of `x`.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdULL;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

constexpr int kRanks = 4;  // tokens that sampling chooses among

}  // namespace

std::uint64_t kv_content(std::span<const TokenId> tokens, std::string_view lora) {
  return chain_next(chain_seed("", lora), tokens);
}

AnswerStream::AnswerStream(const AnswerVocabulary& vocabulary, std::uint64_t content,
                           Sampling sampling)
    : vocabulary_(vocabulary), sampling_(sampling), state_(content) {}

Candidate AnswerStream::next(bool may_end) {
  place_ = state_;
  const int rank = sampling_.greedy ? 0 : static_cast<int>(mix(state_ ^ sampling_.seed) % kRanks);
  TokenId token = draw(place_, rank);
  const auto mean = static_cast<std::uint64_t>(vocabulary_.mean_tokens);
  if (mean > 0 && may_end && mix(state_ + 1) % mean == 0) {
    token = vocabulary_.end_of_text;
  }
  state_ = mix(state_ ^ mix(static_cast<std::uint64_t>(token) + 1));
  return {token, logprob(place_, rank)};
}

std::vector<Candidate> AnswerStream::candidates(int count) const {
  std::vector<Candidate> found;
  for (int rank = 0; rank < count; ++rank) {
    found.push_back({draw(place_, rank), logprob(place_, rank)});
  }
  return found;
}

// Ranks of one place are different tokens: they lie side by side in the vocabulary.
TokenId AnswerStream::draw(std::uint64_t state, int rank) const {
  const auto span = static_cast<std::uint64_t>(vocabulary_.last - vocabulary_.first);
  const std::uint64_t place = (mix(state) + static_cast<std::uint64_t>(rank)) % span;
  return vocabulary_.first + static_cast<TokenId>(place);
}

double AnswerStream::logprob(std::uint64_t state, int rank) {
  const double first = static_cast<double>(mix(state + 7) % 1000) / 1000.0;  // 0 to 1 nat
  return -(0.1 + first + rank * 0.75);
}

}  // namespace baton::engine_model
