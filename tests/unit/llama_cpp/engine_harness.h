#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "kv_transfer/node.h"
#include "tests/unit/pod/made_model_files.h"

namespace baton::adapters {

inline constexpr std::chrono::seconds kTestLimit{20};

// The generated model, made once for the whole program.
inline const MadeModel& test_model() {
  static const MadeModelFiles files;
  return files.files;
}

// Everything one request was told, and a way to wait for it.
class RecordingSink final : public EngineSink {
 public:
  void on_first_token(const EngineUsage& usage, const EngineTimes& /*times*/) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_TRUE(tokens_.empty());
    ++first_token_calls_;
    usage_ = usage;
  }
  void on_token(EngineToken token) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_FALSE(ended_);
    EXPECT_EQ(first_token_calls_, 1);
    tokens_.push_back(std::move(token));
    changed_.notify_all();
  }
  void on_finish(FinishReason reason, EngineUsage usage, EngineTimes times) override {
    const std::scoped_lock lock(mutex_);
    reason_ = reason;
    times_ = times;
    end(usage);
  }
  void on_error(Error error, EngineUsage usage) override {
    const std::scoped_lock lock(mutex_);
    error_ = std::move(error);
    end(usage);
  }

  // True: it ended within the limit.
  [[nodiscard]] bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTestLimit, [this] { return ended_; });
  }
  [[nodiscard]] bool wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTestLimit, [&] { return ended_ || tokens_.size() >= count; }) &&
           tokens_.size() >= count;
  }
  [[nodiscard]] bool ended() {
    const std::scoped_lock lock(mutex_);
    return ended_;
  }

  // After wait().
  [[nodiscard]] std::vector<TokenId> ids() const {
    std::vector<TokenId> ids;
    for (const EngineToken& token : tokens_) ids.push_back(token.id);
    return ids;
  }
  [[nodiscard]] const std::vector<EngineToken>& tokens() const { return tokens_; }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  [[nodiscard]] std::optional<FinishReason> reason() const { return reason_; }
  [[nodiscard]] const EngineUsage& usage() const { return usage_; }
  [[nodiscard]] const EngineTimes& times() const { return times_; }
  [[nodiscard]] int first_token_calls() const { return first_token_calls_; }

 private:
  void end(const EngineUsage& usage) {  // lock held
    EXPECT_FALSE(ended_) << "a request ended twice";
    ended_ = true;
    usage_ = usage;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EngineToken> tokens_;
  std::optional<Error> error_;
  std::optional<FinishReason> reason_;
  EngineUsage usage_;
  EngineTimes times_;
  int first_token_calls_ = 0;
  bool ended_ = false;
};

inline EngineOptions small_options() {
  EngineOptions options;
  options.model_path = test_model().model_path;
  options.loras = {{"sql", test_model().lora_path}};
  options.max_context = Tokens(4096);
  options.kv_pool = Tokens(8192);
  options.block_store = Bytes(64LL << 20);
  options.engine_id = "test";
  return options;
}

inline std::unique_ptr<Engine> start_engine(EngineOptions options = small_options()) {
  auto engine = Engine::start(std::move(options));
  EXPECT_TRUE(engine.has_value()) << engine.error().message;
  return engine ? *std::move(engine) : nullptr;
}

// Prompts are random ids that are no control tokens; the same seed and length give the same ids,
// and a longer prompt of one seed begins with a shorter one.
inline std::vector<TokenId> random_prompt(int tokens, unsigned seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<TokenId> any(10, 250);
  std::vector<TokenId> ids;
  for (int i = 0; i < tokens; ++i) ids.push_back(any(rng));
  return ids;
}

inline EngineRequest greedy(std::vector<TokenId> prompt, int max_tokens) {
  EngineRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.0F;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

inline std::shared_ptr<RecordingSink> run(Engine& engine, EngineRequest request) {
  auto sink = std::make_shared<RecordingSink>();
  engine.submit(std::move(request), sink);
  EXPECT_TRUE(sink->wait());
  return sink;
}

template <class Condition>
[[nodiscard]] bool eventually(const Condition& condition) {
  const auto limit = std::chrono::steady_clock::now() + kTestLimit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

[[nodiscard]] inline bool settles(const Engine& engine) {
  return eventually([&] {
    const EngineStats& stats = engine.stats();  // counts blocks anew
    return stats.running == 0 && stats.waiting == 0 && stats.blocks_pinned == 0 &&
           stats.cells_reserved == 0;
  });
}

}  // namespace baton::adapters
