#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton::orchestrator::bench {

// Tokens of each text, counted as a server counts the prompt of a completion: with whatever the
// tokenizer puts before it (BOS). Errors: those of the tokenizer.
using CountTokens = std::function<Result<std::vector<int>>(const std::vector<std::string>& texts)>;

// What built prompts are made of: short, common, lower-case ASCII words, all different. A prompt
// carries a space before each, so that one never runs into the next and their costs add up.
[[nodiscard]] std::span<const std::string_view> prompt_words();
// Each block's first word, prompt_words()[0]: since every prompt begins with it, whatever a
// tokenizer or template does to the beginning of a text costs every prompt the same.
inline constexpr std::string_view kHeadWord = "the";

// What words cost, in units that add up.
struct WordCosts {
  std::vector<int> units;      // of " word", for each of prompt_words()
  int full_stop_units = 0;     // of a "." after a word or alone; 0: do not use it
  double units_per_token = 1;  // units are tokens, or characters where tokens do not add up
  int start_tokens = 0;        // that the tokenizer adds to any text
  double tokens_per_byte = 1;  // of English prose
};

// Costs where a token is so many characters on average.
[[nodiscard]] WordCosts character_costs(double tokens_per_character);

// Learns costs with few questions: sums over groups of words, halved until a group's sum says what
// each of its words costs (all one token, or all one token a byte). Vocabularies of either kind
// take four texts, others up to two a word. Where sums do not add up (tokens that span words), the
// costs are in characters. Errors: those of `count`; kUpstream where counts do not grow with texts.
[[nodiscard]] Result<WordCosts> learn_word_costs(const CountTokens& count);

}  // namespace baton::orchestrator::bench
