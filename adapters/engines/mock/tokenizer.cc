#include "adapters/engines/mock/tokenizer.h"

#include <algorithm>
#include <array>

namespace baton::adapters::mock {
namespace {

constexpr TokenId kFirstByte = 3;
constexpr std::array<std::string_view, 3> kControl = {"<unk>", "<s>", "</s>"};

constexpr std::string_view kConsonants = "bcdfghjklmnprstvwz";
constexpr std::string_view kVowels = "aeiou";
constexpr std::array<std::string_view, 5> kEndings = {"", "n", "r", "s", "l"};
constexpr std::array<std::string_view, 60> kWords = {
    " the",   " of",   " and",  " to",   " in",    " is",   " that",  " it",  " was",   " for",
    " on",    " are",  " as",   " with", " his",   " they", " at",    " be",  " this",  " have",
    " from",  " or",   " one",  " had",  " by",    " word", " but",   " not", " what",  " all",
    " were",  " we",   " when", " your", " can",   " said", " there", " use", " an",    " each",
    " which", " she",  " do",   " how",  " their", " if",   " will",  " up",  " other", " about",
    " out",   " many", " then", " them", " these", " so",   " some",  " her", " would", " make"};

}  // namespace

MockTokenizer::MockTokenizer() {
  pieces_.reserve(2048);  // ids_ views them
  for (const std::string_view control : kControl) pieces_.emplace_back(control);
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  answer_first_ = size();
  for (const char consonant : kConsonants) {
    for (const char vowel : kVowels) {
      for (const std::string_view ending : kEndings) {
        add((std::string(" ") + consonant + vowel).append(ending));
      }
    }
  }
  answer_last_ = size();
  for (const char consonant : kConsonants) {
    for (const char vowel : kVowels) {
      for (const std::string_view ending : kEndings) {
        add((std::string(1, consonant) + vowel).append(ending));
      }
    }
  }
  for (const std::string_view word : kWords) add(std::string(word));
}

void MockTokenizer::add(std::string piece) {
  if (ids_.contains(piece)) return;
  longest_ = std::max(longest_, piece.size());
  pieces_.push_back(std::move(piece));
  ids_.emplace(pieces_.back(), size() - 1);
}

std::vector<TokenId> MockTokenizer::encode(std::string_view text, bool add_begin) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 2 + 1);
  if (add_begin) ids.push_back(kBegin);
  while (!text.empty()) {
    std::size_t length = std::min(longest_, text.size());
    auto found = ids_.find(text.substr(0, length));
    while (found == ids_.end()) found = ids_.find(text.substr(0, --length));
    ids.push_back(found->second);
    text.remove_prefix(length);
  }
  return ids;
}

std::string MockTokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) text += piece(id);
  return text;
}

std::string_view MockTokenizer::piece(TokenId id) const {
  return id >= kFirstByte && id < size() ? std::string_view(pieces_[static_cast<std::size_t>(id)])
                                         : std::string_view();
}

std::string_view MockTokenizer::name(TokenId id) const {
  return id >= 0 && id < size() ? std::string_view(pieces_[static_cast<std::size_t>(id)])
                                : std::string_view();
}

}  // namespace baton::adapters::mock
