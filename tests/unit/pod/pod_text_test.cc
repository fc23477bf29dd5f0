#include "adapters/engines/llama_cpp/pod_text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace baton::adapters {
namespace {

// Feeds `text` in pieces of `size` bytes.
std::string streamed(std::string_view text, std::size_t size) {
  Utf8Stream stream;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += size) out += stream.push(text.substr(i, size));
  return out + stream.flush();
}

TEST(Utf8StreamTest, HoldsACharacterUntilItIsWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xe2"), "a");
  EXPECT_EQ(stream.push("\x82"), "");
  EXPECT_EQ(stream.push("\xac!"), "\xe2\x82\xac!");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Utf8StreamTest, EveryCutGivesTheSameText) {
  const std::string text = "z\u00df\u6c34\U0001f34c and \u20ac";
  for (std::size_t size = 1; size <= 5; ++size) EXPECT_EQ(streamed(text, size), text) << size;
}

TEST(Utf8StreamTest, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(to_valid_utf8("\xff"), "\ufffd");
  EXPECT_EQ(to_valid_utf8("a\x80z"), "a\ufffdz");
  EXPECT_EQ(to_valid_utf8("\xc0\xaf"), "\ufffd\ufffd");            // overlong
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // a surrogate
  EXPECT_EQ(to_valid_utf8("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(to_valid_utf8("\xe2\x82z"), "\ufffdz");    // one for the maximal part
  EXPECT_EQ(to_valid_utf8("\xf0\x9f\x8d"), "\ufffd");  // cut at the end
}

TEST(Utf8StreamTest, AnyBytesInAnyPiecesGiveTheSameValidText) {
  std::mt19937 rng(3);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (unsigned i = rng() % 40; i > 0; --i) {
      bytes += static_cast<char>(rng() % 2 == 0 ? 0x80 + rng() % 128 : rng() % 256);
    }
    const std::string whole = to_valid_utf8(bytes);
    EXPECT_EQ(to_valid_utf8(whole), whole);
    for (std::size_t size = 1; size <= 4; ++size) EXPECT_EQ(streamed(bytes, size), whole);
  }
}

TEST(StopMatcherTest, FindsAStopAcrossTokenBoundaries) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("the E"), "the ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("D of it"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcherTest, GivesBackWhatOnlyLookedLikeAStop) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.push("a"), "");
  EXPECT_EQ(matcher.push("a"), "");
  EXPECT_EQ(matcher.push("a"), "a");
  EXPECT_EQ(matcher.push("c"), "aac");
  EXPECT_EQ(matcher.push("xaa"), "x");
  EXPECT_EQ(matcher.flush(), "aa");
}

TEST(StopMatcherTest, TheFirstOfSeveralEndsTheText) {
  StopMatcher matcher({"yes", "no", "\n\n", "."});
  EXPECT_EQ(matcher.push("well. no"), "well");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcherTest, AgreesWithASearchOfTheWholeText) {
  std::mt19937 rng(5);
  for (int round = 0; round < 2000; ++round) {
    const auto random_text = [&](unsigned longest) {
      std::string text;
      for (unsigned i = 1 + rng() % longest; i > 0; --i) text += static_cast<char>('a' + rng() % 2);
      return text;
    };
    const std::vector<std::string> stops = {random_text(5), random_text(5)};
    const std::string text = random_text(30);
    std::size_t first = std::string::npos;
    for (std::size_t end = 1; end <= text.size() && first == std::string::npos; ++end) {
      for (const std::string& stop : stops) {
        if (text.substr(0, end).ends_with(stop)) first = std::min(first, end - stop.size());
      }
    }
    StopMatcher matcher(stops);
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t size = 1 + rng() % 3;
      out += matcher.push(std::string_view(text).substr(i, size));
      i += size;
    }
    out += matcher.flush();
    EXPECT_EQ(matcher.stopped(), first != std::string::npos);
    EXPECT_EQ(out, text.substr(0, first)) << text << " " << stops[0] << " " << stops[1];
  }
}

TEST(CountCharactersTest, CountsCodePoints) {
  EXPECT_EQ(count_characters(""), 0U);
  EXPECT_EQ(count_characters("z\u00df\u6c34\U0001f34c"), 4U);
}

}  // namespace
}  // namespace baton::adapters
