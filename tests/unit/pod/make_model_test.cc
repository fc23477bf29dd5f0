#include "adapters/engines/llama_cpp/make_model.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/unit/pod/made_model_files.h"

namespace baton::adapters {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The model in libllama itself, greedy, one sequence.
class Greedy {
 public:
  explicit Greedy(const MadeModel& made)
      : model_(llama_model_load_from_file(made.model_path.c_str(), llama_model_default_params()),
               llama_model_free) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 4096;
    params.n_batch = 4096;
    params.n_ubatch = 256;
    params.kv_unified = true;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.n_threads = params.n_threads_batch = 1;
    context_.reset(llama_init_from_model(model_.get(), params));
    vocab_ = llama_model_get_vocab(model_.get());
    lora_ = llama_adapter_lora_init(model_.get(), made.lora_path.c_str());
  }

  [[nodiscard]] bool loaded() const { return context_ != nullptr && lora_ != nullptr; }
  [[nodiscard]] int vocabulary() const { return llama_vocab_n_tokens(vocab_); }
  [[nodiscard]] std::int64_t context() const { return llama_model_n_ctx_train(model_.get()); }

  void use_lora(bool on) {
    float scale = 1.0F;
    llama_set_adapters_lora(context_.get(), on ? &lora_ : nullptr, on ? 1 : 0,
                            on ? &scale : nullptr);
  }

  std::vector<llama_token> tokens(std::string_view text) const {
    std::vector<llama_token> ids(text.size() + 8);
    ids.resize(static_cast<std::size_t>(llama_tokenize(vocab_, text.data(),
                                                       static_cast<int>(text.size()), ids.data(),
                                                       static_cast<int>(ids.size()), true, true)));
    return ids;
  }

  // Tokens up to `count`, or to the end of the answer; the gap between the best two logits of each
  // goes to `gaps`.
  std::vector<llama_token> generate(std::vector<llama_token> prompt, int count) {
    llama_memory_clear(llama_get_memory(context_.get()), true);
    std::vector<llama_token> out;
    decode(prompt);
    while (true) {
      const llama_token best = best_token();
      if (llama_vocab_is_eog(vocab_, best)) {
        ++ends;
        return out;
      }
      out.push_back(best);
      if (static_cast<int>(out.size()) == count) return out;
      prompt = {best};
      decode(prompt);
    }
  }

  std::string text(const std::vector<llama_token>& ids) const {
    std::string out;
    for (const llama_token id : ids) {
      char piece[64];
      const int n = llama_token_to_piece(vocab_, id, piece, sizeof(piece), 0, true);
      out.append(piece, static_cast<std::size_t>(n));
    }
    return out;
  }

  std::vector<float> gaps;
  int ends = 0;

 private:
  void decode(std::vector<llama_token>& ids) {
    const int size = static_cast<int>(ids.size());
    ASSERT_EQ(llama_decode(context_.get(), llama_batch_get_one(ids.data(), size)), 0);
  }
  llama_token best_token() {
    const float* logits = llama_get_logits_ith(context_.get(), -1);
    std::vector<float> sorted(logits, logits + vocabulary());
    std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
    gaps.push_back(sorted[0] - sorted[1]);
    return static_cast<llama_token>(
        std::distance(logits, std::max_element(logits, logits + vocabulary())));
  }

  std::unique_ptr<llama_model, void (*)(llama_model*)> model_;
  struct FreeContext {
    void operator()(llama_context* context) const { llama_free(context); }
  };
  std::unique_ptr<llama_context, FreeContext> context_;
  const llama_vocab* vocab_ = nullptr;
  llama_adapter_lora* lora_ = nullptr;
};

double distinct_share(const std::vector<llama_token>& ids) {
  std::set<std::vector<llama_token>> runs;
  for (std::size_t i = 0; i + 4 <= ids.size(); ++i) {
    runs.emplace(ids.begin() + static_cast<long>(i), ids.begin() + static_cast<long>(i) + 4);
  }
  return static_cast<double>(runs.size()) / static_cast<double>(ids.size() - 3);
}

class MakeModelTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    made_ = new MadeModelFiles();
    greedy_ = new Greedy(made_->files);
  }
  static void TearDownTestSuite() {
    delete greedy_;
    delete made_;
  }
  void SetUp() override {
    ASSERT_TRUE(greedy_->loaded());
    greedy_->use_lora(false);
  }
  std::vector<llama_token> random_prompt(int length) {
    std::vector<llama_token> prompt;
    for (int i = 0; i < length; ++i) {
      prompt.push_back(
          static_cast<llama_token>(rng_() % static_cast<unsigned>(greedy_->vocabulary() - 3)));
    }
    return prompt;
  }
  std::mt19937 rng_{7};
  static inline MadeModelFiles* made_ = nullptr;
  static inline Greedy* greedy_ = nullptr;
};

TEST_F(MakeModelTest, SameSeedSameBytes) {
  ScratchFolder again, other;
  ASSERT_TRUE(make_model(again.path(), 0).has_value());
  ASSERT_TRUE(make_model(other.path(), 1).has_value());
  EXPECT_EQ(read(made_->files.model_path), read(again.path() + "/model.gguf"));
  EXPECT_EQ(read(made_->files.lora_path), read(again.path() + "/lora.gguf"));
  EXPECT_NE(read(made_->files.model_path), read(other.path() + "/model.gguf"));
  EXPECT_LT(read(made_->files.model_path).size(), 20U << 20);
}

TEST_F(MakeModelTest, SaysWhereItCannotWrite) {
  const auto made = make_model(made_->files.model_path + "/x", 0);
  ASSERT_FALSE(made.has_value());
  EXPECT_NE(made.error().message.find("model.gguf/x"), std::string::npos);
}

TEST_F(MakeModelTest, DecidedLogitsOver200Prompts) {
  greedy_->gaps.clear();
  greedy_->ends = 0;
  std::set<std::string> answers;
  for (int i = 0; i < 200; ++i) {
    const auto prompt = random_prompt(1 + static_cast<int>(rng_() % 80));
    answers.insert(greedy_->text(greedy_->generate(prompt, 16)));
  }
  std::vector<float> gaps = greedy_->gaps;
  std::sort(gaps.begin(), gaps.end());
  EXPECT_GE(gaps[gaps.size() / 2], 1.0F);
  const auto close = std::lower_bound(gaps.begin(), gaps.end(), 0.01F) - gaps.begin();
  EXPECT_LT(static_cast<double>(close) / static_cast<double>(gaps.size()), 0.01);
  EXPECT_LE(greedy_->ends, 10);
  EXPECT_GE(answers.size(), 195U);
}

TEST_F(MakeModelTest, EveryPromptTokenBearsOnTheAnswer) {
  auto prompt = random_prompt(200);
  const auto before = greedy_->generate(prompt, 64);
  int changed = 0;
  for (const std::size_t at : {0U, 50U, 100U, 150U, 198U}) {
    auto other = prompt;
    other[at] = (other[at] + 1) % greedy_->vocabulary();
    if (greedy_->generate(other, 64) != before) ++changed;
  }
  EXPECT_GE(changed, 4);
}

TEST_F(MakeModelTest, AnswersAreWords) {
  const auto prompt = greedy_->tokens("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const std::string text = greedy_->text(greedy_->generate(prompt, 64));
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == ' ' || c == '.' || c == '!';
  })) << text;
  EXPECT_TRUE(std::isupper(static_cast<unsigned char>(text[0])) != 0) << text;
}

TEST_F(MakeModelTest, LoraChangesTheAnswer) {
  int changed = 0;
  std::string base_text, adapted_text;
  for (int i = 0; i < 10; ++i) {
    const auto prompt = random_prompt(30);
    const auto base = greedy_->generate(prompt, 48);
    greedy_->use_lora(true);
    const auto adapted = greedy_->generate(prompt, 48);
    greedy_->use_lora(false);
    changed += base == adapted ? 0 : 1;
    base_text += greedy_->text(base);
    adapted_text += greedy_->text(adapted);
  }
  EXPECT_EQ(changed, 10);
  EXPECT_GT(std::ranges::count(base_text, '.'), 2 * std::ranges::count(base_text, '!'));
  EXPECT_GT(std::ranges::count(adapted_text, '!'), 4 * std::ranges::count(adapted_text, '.'))
      << adapted_text;
}

TEST_F(MakeModelTest, LongPromptsDoNotDegenerate) {
  EXPECT_GE(greedy_->context(), 8192);
  for (const int length : {500, 1500, 3000}) {
    const auto answer = greedy_->generate(random_prompt(length), 200);
    EXPECT_GE(distinct_share(answer), 0.7) << length;
  }
}

}  // namespace
}  // namespace baton::adapters
