#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tokenizer.h"

namespace baton::adapters::mock {

// A vocabulary that every mock shares, made by rule and without a file: control tokens, the 256
// bytes, and pieces of words with and without a blank before them. Text is cut greedily into the
// longest pieces; what no piece covers is bytes, so that decode(encode(text)) is the text. Answers
// are drawn from the pieces that begin with a blank. Immutable; any thread.
class MockTokenizer {
 public:
  static constexpr TokenId kUnknown = 0;
  static constexpr TokenId kBegin = 1;
  static constexpr TokenId kEnd = 2;

  MockTokenizer();

  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_begin) const;
  // Control tokens are nothing in text.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;
  // The token's text, which need not be whole UTF-8; empty for control and unknown ids.
  [[nodiscard]] std::string_view piece(TokenId id) const;
  // As a list of a vocabulary shows it: control tokens by their names.
  [[nodiscard]] std::string_view name(TokenId id) const;
  [[nodiscard]] TokenId size() const { return static_cast<TokenId>(pieces_.size()); }
  // The range that answers are made of.
  [[nodiscard]] TokenId answer_first() const { return answer_first_; }
  [[nodiscard]] TokenId answer_last() const { return answer_last_; }

 private:
  void add(std::string piece);

  std::vector<std::string> pieces_;
  std::unordered_map<std::string_view, TokenId> ids_;
  std::size_t longest_ = 1;
  TokenId answer_first_ = 0;
  TokenId answer_last_ = 0;
};

}  // namespace baton::adapters::mock
