#include "adapters/engines/llama_cpp/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/pod/made_model_files.h"

namespace baton::adapters {
namespace {

class GgufTokenizerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = new MadeModelFiles();
    tokenizer_ = GgufTokenizer::load(made_->files.model_path).value_or(nullptr);
  }
  static void TearDownTestSuite() {
    tokenizer_.reset();
    delete made_;
  }
  void SetUp() override { ASSERT_NE(tokenizer_, nullptr); }
  static std::string text_of(const std::vector<TokenId>& ids) {
    std::string text;
    for (const TokenId id : ids) text += tokenizer_->piece(id);
    return text;
  }
  static inline MadeModelFiles* made_ = nullptr;
  static inline std::shared_ptr<GgufTokenizer> tokenizer_;
};

TEST_F(GgufTokenizerTest, TextComesBack) {
  for (const std::string text : {"", "a", " The quiet river", "tabs\tand\nlines",
                                 "z\u00df\u6c34\U0001f34c", "  two  spaces"}) {
    const auto ids = tokenizer_->ids(text, false, false);
    ASSERT_TRUE(ids.has_value());
    EXPECT_EQ(text_of(*ids), text);
  }
}

TEST_F(GgufTokenizerTest, WordsOfTheModelAreOneToken) {
  EXPECT_EQ(tokenizer_->ids(" river", false, false)->size(), 1U);
  EXPECT_EQ(tokenizer_->ids("The quiet fox", false, false)->size(), 3U);
}

TEST_F(GgufTokenizerTest, SpecialTokensOnlyWhereAsked) {
  const auto plain = tokenizer_->ids("<|im_end|>", false, false);
  const auto special = tokenizer_->ids("<|im_end|>", false, true);
  EXPECT_GT(plain->size(), 1U);
  ASSERT_EQ(special->size(), 1U);
  EXPECT_TRUE(tokenizer_->is_end(special->front()));
  EXPECT_EQ(text_of(*special), "<|im_end|>");
  const auto with_bos = tokenizer_->ids("a", true, true);
  ASSERT_EQ(with_bos->size(), 2U);
  EXPECT_EQ(tokenizer_->piece(with_bos->front()), tokenizer_->bos_text());
  EXPECT_TRUE(tokenizer_->adds_bos());
}

TEST_F(GgufTokenizerTest, IdsOutsideTheVocabularyHaveNoText) {
  EXPECT_EQ(tokenizer_->piece(-1), "");
  EXPECT_EQ(tokenizer_->piece(tokenizer_->size()), "");
  EXPECT_FALSE(tokenizer_->is_end(-1));
}

TEST_F(GgufTokenizerTest, HasTheModelsTemplate) {
  ASSERT_TRUE(tokenizer_->chat_template().has_value());
  EXPECT_NE(tokenizer_->chat_template()->find("im_start"), std::string::npos);
}

TEST_F(GgufTokenizerTest, ThreadsShareIt) {
  const auto expected = tokenizer_->ids("Another quiet drummer visits my garden", true, true);
  std::vector<std::thread> threads;
  std::atomic<int> same{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        tokenizer_->encode(
            "Another quiet drummer visits my garden", true, true,
            [&](const Result<std::vector<TokenId>>& ids) { same += *ids == *expected ? 1 : 0; });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, 800);
}

TEST_F(GgufTokenizerTest, SaysWhichFileIsWrong) {
  const auto missing = GgufTokenizer::load(made_->folder.path() + "/none.gguf");
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().message.find("none.gguf"), std::string::npos);
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos);
  const std::string broken = made_->folder.path() + "/broken.gguf";
  std::ofstream(broken) << "GGUF and nothing of it";
  const auto refused = GgufTokenizer::load(broken);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("broken.gguf"), std::string::npos);
}

}  // namespace
}  // namespace baton::adapters
