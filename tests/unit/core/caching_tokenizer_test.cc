#include "core/caching_tokenizer.h"

#include <gtest/gtest.h>

#include <string>

namespace baton {
namespace {

// One id a byte, after a BOS of 256 where asked for; counts its calls; fails on "bad".
class ByteTokenizer final : public Tokenizer {
 public:
  void encode(std::string_view text, bool add_special, bool, Done done) override {
    ++calls;
    if (text == "bad") {
      done(fail(ErrorCode::kUpstream, Stage::kRouter, "no answer"));
      return;
    }
    std::vector<TokenId> ids;
    if (add_special) ids.push_back(256);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    done(std::move(ids));
  }
  [[nodiscard]] bool is_local() const override { return false; }
  int calls = 0;
};

class CachingTokenizerTest : public testing::Test {
 protected:
  std::size_t ids_of(CachingTokenizer& tokenizer, std::string_view text, bool special = false) {
    std::size_t count = 0;
    tokenizer.encode(text, special, false,
                     [&](Result<std::vector<TokenId>> ids) { count = ids ? ids->size() : 9999; });
    return count;
  }
  std::shared_ptr<ByteTokenizer> inner_ = std::make_shared<ByteTokenizer>();
};

TEST_F(CachingTokenizerTest, AsksOnceForAText) {
  CachingTokenizer tokenizer(inner_, Bytes(1 << 20));
  EXPECT_EQ(ids_of(tokenizer, "hello"), 5U);
  EXPECT_EQ(ids_of(tokenizer, "hello"), 5U);
  EXPECT_EQ(inner_->calls, 1);
  EXPECT_EQ(ids_of(tokenizer, "hello", true), 6U);
  EXPECT_EQ(inner_->calls, 2);
  EXPECT_EQ(tokenizer.hits(), 1U);
  EXPECT_EQ(tokenizer.misses(), 2U);
}

TEST_F(CachingTokenizerTest, ForgetsTheLeastRecentlyUsedWithinItsBound) {
  CachingTokenizer tokenizer(inner_, Bytes(2000));
  const std::string a(100, 'a');
  ids_of(tokenizer, a);
  for (char c = 'b'; c < 'z'; ++c) {
    ids_of(tokenizer, std::string(100, c));
    ids_of(tokenizer, a);
    EXPECT_LE(tokenizer.memory_used(), Bytes(2000));
  }
  const int calls = inner_->calls;
  ids_of(tokenizer, a);
  EXPECT_EQ(inner_->calls, calls);
  ids_of(tokenizer, std::string(100, 'b'));
  EXPECT_EQ(inner_->calls, calls + 1);
}

TEST_F(CachingTokenizerTest, KeepsNeitherFailuresNorWhatIsTooLarge) {
  CachingTokenizer tokenizer(inner_, Bytes(1000));
  ids_of(tokenizer, "bad");
  ids_of(tokenizer, "bad");
  EXPECT_EQ(inner_->calls, 2);
  ids_of(tokenizer, std::string(1000, 'x'));
  EXPECT_EQ(tokenizer.memory_used(), Bytes(0));
}

}  // namespace
}  // namespace baton
