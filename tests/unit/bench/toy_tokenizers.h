#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer.h"
#include "orchestrator/bench/workload/draws.h"
#include "orchestrator/bench/workload/word_costs.h"

namespace baton::orchestrator::bench {

// One token a byte.
[[nodiscard]] inline int byte_tokens(std::string_view text) {
  return static_cast<int>(text.size());
}

// Pieces as byte-pair encoders split text before they merge: a word with the space before it, or a
// run of punctuation, or of other space.
[[nodiscard]] inline std::vector<std::string_view> pretokens(std::string_view text) {
  const auto kind = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ? 0 : c == ' ' ? 1 : 2;
  };
  std::vector<std::string_view> pieces;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = at + 1;
    const std::size_t from = text[at] == ' ' && end < text.size() ? end : at;
    while (end < text.size() && kind(text[end]) == kind(text[from])) ++end;
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

// One token a word.
[[nodiscard]] inline int word_tokens(std::string_view text) {
  return static_cast<int>(pretokens(text).size());
}

// One to three tokens a word, but never more than it has bytes.
[[nodiscard]] inline int mixed_tokens(std::string_view text) {
  int tokens = 0;
  for (const std::string_view piece : pretokens(text)) {
    const auto hash = scramble(std::hash<std::string_view>{}(piece));
    tokens += std::min<int>(1 + static_cast<int>(hash % 3), static_cast<int>(piece.size()));
  }
  return tokens;
}

// One token for every two words: costs of words do not add up.
[[nodiscard]] inline int pair_tokens(std::string_view text) { return (word_tokens(text) + 1) / 2; }

// A local tokenizer that counts by one of these, with a BOS token where it is asked for.
class ToyTokenizer final : public Tokenizer {
 public:
  using Count = int (*)(std::string_view);
  explicit ToyTokenizer(Count count) : count_(count) {}
  void encode(std::string_view text, bool add_special, bool /*parse_special*/, Done done) override {
    done(std::vector<TokenId>(static_cast<std::size_t>(count_(text) + (add_special ? 1 : 0)), 7));
  }
  [[nodiscard]] bool is_local() const override { return true; }

 private:
  Count count_;
};

[[nodiscard]] inline CountTokens count_by(int (*count)(std::string_view)) {
  return [count](const std::vector<std::string>& texts) -> Result<std::vector<int>> {
    std::vector<int> counts;
    for (const std::string& text : texts) counts.push_back(count(text));
    return counts;
  };
}

}  // namespace baton::orchestrator::bench
