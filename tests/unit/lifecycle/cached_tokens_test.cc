#include "orchestrator/lifecycle/cached_tokens.h"

#include <gtest/gtest.h>

namespace baton::orchestrator {
namespace {

std::string filtered(std::string_view text, std::size_t piece, std::int64_t cached = 7) {
  CachedTokensFilter filter(cached);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece)
    out += filter.feed(text.substr(at, piece));
  return out.append(filter.rest());
}

struct Case {
  std::string_view text, expected;
};
constexpr Case kCases[] = {
    {R"({"usage":{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":39}}})",
     R"({"usage":{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":7}}})"},
    {R"({"prompt_tokens_details": {"cached_tokens":  1234567890123 , "x":1}})",
     R"({"prompt_tokens_details": {"cached_tokens":  7 , "x":1}})"},
    {R"({"cached_tokens":null,"a":{"cached_tokens":1}})",
     R"({"cached_tokens":null,"a":{"cached_tokens":7}})"},
    // In a text the quotes have backslashes.
    {R"({"content":"{\"cached_tokens\":39}"})", R"({"content":"{\"cached_tokens\":39}"})"},
    {"data: {\"choices\":[]}\n\ndata: [DONE]\n\n", "data: {\"choices\":[]}\n\ndata: [DONE]\n\n"},
    {R"({"x":"cached)", R"({"x":"cached)"},
    {R"({"cached_tokens":12)", R"({"cached_tokens":12)"},  // cut off: not for us to mend
    {"", ""},
};

TEST(CachedTokensFilter, ChangesTheMemberAloneWhereverPiecesEnd) {
  for (const auto& [text, expected] : kCases) {
    for (std::size_t piece = 1; piece <= text.size() + 1; ++piece) {
      EXPECT_EQ(filtered(text, piece), expected) << piece;
    }
  }
}

TEST(CachedTokensFilter, APieceWithoutTheMemberIsNotCopied) {
  CachedTokensFilter filter(1);
  const std::string piece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
  EXPECT_EQ(filter.feed(piece).data(), piece.data());
}

TEST(CachedTokensFilter, HoldsBackNoMoreThanAMember) {
  CachedTokensFilter filter(1);
  EXPECT_EQ(filter.feed(R"({"a":"b","cached_to)"), R"({"a":"b",)");
  EXPECT_EQ(filter.feed(R"(day":1})"), R"("cached_today":1})");
}

}  // namespace
}  // namespace baton::orchestrator
