#include "orchestrator/bench/workload/word_costs.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace baton::orchestrator::bench {
namespace {

constexpr auto kWords = std::to_array<std::string_view>({
    "the",      "a",      "of",       "to",     "in",     "is",      "it",    "on",     "as",
    "at",       "by",     "be",       "or",     "an",     "we",      "he",    "me",     "my",
    "so",       "up",     "do",       "no",     "go",     "if",      "us",    "and",    "for",
    "you",      "are",    "was",      "not",    "all",    "but",     "had",   "her",    "his",
    "one",      "our",    "out",      "day",    "get",    "has",     "him",   "how",    "man",
    "new",      "now",    "old",      "see",    "two",    "way",     "who",   "boy",    "did",
    "its",      "let",    "put",      "say",    "she",    "too",     "use",   "air",    "big",
    "car",      "dog",    "end",      "eye",    "far",    "few",     "food",  "girl",   "hand",
    "head",     "high",   "home",     "hot",    "house",  "idea",    "just",  "keep",   "kind",
    "know",     "land",   "last",     "late",   "left",   "life",    "like",  "line",   "list",
    "live",     "long",   "look",     "made",   "make",   "many",    "mean",  "more",   "most",
    "move",     "much",   "must",     "name",   "near",   "need",    "next",  "night",  "number",
    "off",      "often",  "only",     "open",   "order",  "other",   "over",  "own",    "page",
    "paper",    "part",   "people",   "place",  "plant",  "play",    "point", "press",  "read",
    "real",     "right",  "river",    "road",   "rock",   "room",    "same",  "school", "sea",
    "second",   "seem",   "sentence", "set",    "ship",   "short",   "show",  "side",   "small",
    "sound",    "space",  "stand",    "star",   "start",  "state",   "stay",  "still",  "stop",
    "story",    "street", "strong",   "study",  "sun",    "sure",    "table", "take",   "talk",
    "team",     "tell",   "ten",      "test",   "than",   "that",    "them",  "then",   "there",
    "these",    "they",   "thing",    "think",  "this",   "those",   "three", "time",   "today",
    "together", "took",   "top",      "town",   "tree",   "true",    "turn",  "under",  "until",
    "very",     "voice",  "walk",     "want",   "war",    "warm",    "watch", "water",  "week",
    "well",     "went",   "were",     "west",   "what",   "when",    "where", "which",  "white",
    "whole",    "why",    "wind",     "with",   "woman",  "word",    "work",  "world",  "would",
    "write",    "year",   "yes",      "young",  "your",   "about",   "above", "across", "add",
    "after",    "again",  "against",  "ago",    "ahead",  "almost",  "along", "also",   "always",
    "among",    "answer", "any",      "around", "ask",    "away",    "back",  "ball",   "base",
    "been",     "before", "began",    "best",   "better", "between", "bird",  "black",  "blue",
    "boat",     "body",   "book",     "both",
});
static_assert(kWords[0] == kHeadWord);

// Ordinary English, to learn how many tokens a byte of it is.
constexpr std::string_view kProse =
    "The harbour was quiet when the first boats came back that morning. Nobody on the pier spoke "
    "about the storm, although everyone had watched it cross the bay during the night, and the "
    "broken crates between the stones said enough. \"We should have waited,\" the older man said "
    "at last, counting 27 nets where there had been 40. His daughter did not answer; she was "
    "already carrying the fish to the scales, because the market opened at seven o'clock and the "
    "buyers, who came from the city by train, never stayed for long.";

int bytes_of(std::string_view word) { return static_cast<int>(word.size()) + 1; }

// A run of words and the sum of their costs.
struct Group {
  std::size_t begin = 0;
  std::size_t end = 0;
  int sum = 0;
  [[nodiscard]] std::size_t size() const { return end - begin; }
  [[nodiscard]] std::size_t middle() const { return begin + size() / 2; }
};

std::string words_text(std::size_t begin, std::size_t end) {
  std::string text;
  for (std::size_t i = begin; i < end; ++i) text.append(" ").append(kWords[i]);
  return text;
}
std::string headed(const std::string& text) { return " " + std::string(kHeadWord) + text; }

int bytes_of(const Group& group) {
  int bytes = 0;
  for (std::size_t i = group.begin; i < group.end; ++i) bytes += bytes_of(kWords[i]);
  return bytes;
}

// False: the sum does not yet say what each word costs. A word costs at least one token, and at
// most one for each byte.
bool settle(const Group& group, std::vector<int>& costs) {
  const bool one_token_each = group.sum == static_cast<int>(group.size());
  const bool one_token_a_byte = group.sum == bytes_of(group);
  if (!one_token_each && !one_token_a_byte && group.size() > 1) return false;
  for (std::size_t i = group.begin; i < group.end; ++i) {
    costs[i] = group.size() == 1 ? group.sum : one_token_each ? 1 : bytes_of(kWords[i]);
  }
  return true;
}

// Costs of the words of `open`; nullopt: they do not add up. `head_tokens` is what the head word at
// the beginning of a text makes.
Result<std::optional<std::vector<int>>> split_groups(const CountTokens& count, int head_tokens,
                                                     Group all) {
  std::vector<int> costs(kWords.size());
  std::vector<Group> open = {all};
  while (!open.empty()) {
    std::vector<Group> halved;
    for (const Group& group : open) {
      if (group.sum < static_cast<int>(group.size())) return std::nullopt;
      if (!settle(group, costs)) halved.push_back(group);
    }
    if (halved.empty()) break;
    std::vector<std::string> texts;
    for (const Group& group : halved) {
      texts.push_back(headed(words_text(group.begin, group.middle())));
    }
    const auto counts = count(texts);
    if (!counts) return std::unexpected(counts.error());
    open.clear();
    for (std::size_t i = 0; i < halved.size(); ++i) {
      const int sum = (*counts)[i] - head_tokens;
      open.push_back({halved[i].begin, halved[i].middle(), sum});
      open.push_back({halved[i].middle(), halved[i].end, halved[i].sum - sum});
    }
  }
  return costs;
}

}  // namespace

std::span<const std::string_view> prompt_words() { return kWords; }

WordCosts character_costs(double tokens_per_character) {
  WordCosts costs;
  for (const std::string_view word : kWords) costs.units.push_back(bytes_of(word));
  costs.full_stop_units = 1;
  costs.units_per_token = 1 / tokens_per_character;
  costs.tokens_per_byte = tokens_per_character;
  return costs;
}

Result<WordCosts> learn_word_costs(const CountTokens& count) {
  const std::string all = words_text(0, kWords.size());
  const auto counts =
      count({headed(all), headed(all + all), headed(all) + ".", std::string(kProse)});
  if (!counts) return std::unexpected(counts.error());
  const int once = (*counts)[0];
  const int sum = (*counts)[1] - once;
  if (sum <= 0) {
    return fail(ErrorCode::kUpstream, Stage::kConfig,
                "the tokenizer's counts do not grow with the text");
  }
  const Group words{0, kWords.size(), sum};
  const int head_tokens = once - sum;
  auto learnt = split_groups(count, head_tokens, words);
  if (!learnt) return std::unexpected(std::move(learnt.error()));

  WordCosts costs;
  if (*learnt) {
    costs.units = std::move(**learnt);
    costs.full_stop_units = std::max(0, (*counts)[2] - once);
    costs.start_tokens = std::max(0, head_tokens - costs.units[0]);
  } else {
    costs = character_costs(static_cast<double>(sum) / bytes_of(words));
  }
  const int prose_tokens = std::max(1, (*counts)[3] - costs.start_tokens);
  costs.tokens_per_byte = static_cast<double>(prose_tokens) / static_cast<double>(kProse.size());
  return costs;
}

}  // namespace baton::orchestrator::bench
