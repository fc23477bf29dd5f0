#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/unit/llama_cpp/engine_harness.h"

namespace baton::adapters {
namespace {

TEST(Engine, GeneratesTheSameTextEachTime) {
  const auto engine = start_engine();
  const auto first = run(*engine, greedy(random_prompt(100, 1), 32));
  const auto second = run(*engine, greedy(random_prompt(100, 1), 32));
  ASSERT_FALSE(first->error());
  EXPECT_EQ(first->ids().size(), 32U);
  EXPECT_EQ(first->ids(), second->ids());
  EXPECT_EQ(first->reason(), FinishReason::kLength);
  EXPECT_EQ(first->usage().prompt_tokens, 100);
  EXPECT_EQ(first->usage().completion_tokens, 32);
  EXPECT_EQ(first->usage().cached_tokens, 0);
  EXPECT_EQ(second->usage().cached_tokens, 64);
  EXPECT_EQ(first->first_token_calls(), 1);
  EXPECT_GT(first->times().first_token, first->times().first_step);
  EXPECT_GT(first->times().prefill, Duration::zero());
  EXPECT_TRUE(settles(*engine));
}

TEST(Engine, APromptOfOneTokenNeedsNoPrefill) {
  const auto engine = start_engine();
  const auto sink = run(*engine, greedy({42}, 4));
  ASSERT_FALSE(sink->error());
  EXPECT_EQ(sink->ids().size(), 4U);
  EXPECT_EQ(sink->times().prefill, Duration::zero());
}

TEST(Engine, StopsAtTheEndOfGenerationUnlessTold) {
  const auto engine = start_engine();
  int stopped = 0;
  for (unsigned seed = 0; seed < 8; ++seed) {
    EngineRequest request = greedy(random_prompt(20, seed), 300);
    request.sampling.ignore_eos = false;
    const auto sink = run(*engine, request);
    ASSERT_FALSE(sink->error());
    if (sink->reason() == FinishReason::kStop) {
      ++stopped;
      EXPECT_LT(sink->ids().size(), 300U);
    }
  }
  EXPECT_GT(stopped, 0);
}

TEST(Engine, EndsAtTheContext) {
  EngineOptions options = small_options();
  options.max_context = Tokens(256);
  const auto engine = start_engine(options);
  const auto sink = run(*engine, greedy(random_prompt(250, 1), 100));
  EXPECT_EQ(sink->reason(), FinishReason::kLength);
  EXPECT_EQ(sink->ids().size(), 6U);
}

TEST(Engine, RefusesWhatCannotRun) {
  const auto engine = start_engine();
  const auto refused = [&](EngineRequest request, const std::string& param) {
    const auto sink = run(*engine, std::move(request));
    ASSERT_TRUE(sink->error());
    EXPECT_EQ(sink->error()->code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(sink->error()->param, param);
    EXPECT_FALSE(sink->error()->retryable);
  };
  refused(greedy({}, 1), "prompt");
  refused(greedy(random_prompt(4096, 1), 1), "prompt");
  refused(greedy({1000000}, 1), "prompt");
  refused(greedy({-1}, 1), "prompt");
  refused(greedy({42}, 0), "max_tokens");
  EngineRequest other = greedy({42}, 1);
  other.lora = 1;
  refused(other, "model");
  const auto too_long = run(*engine, greedy(random_prompt(5000, 1), 1));
  EXPECT_NE(too_long->error()->message.find("4096"), std::string::npos);

  EngineRequest published = greedy({42}, 1);
  published.publish = TransferId(1, 2);
  EXPECT_EQ(run(*engine, published)->error()->code, ErrorCode::kUnsupported);
  EXPECT_EQ(run(*engine, greedy(random_prompt(4095, 1), 5))->ids().size(), 1U);
}

TEST(Engine, RefusesBadOptions) {
  const auto refusal = [](auto change) {
    EngineOptions options = small_options();
    change(options);
    const auto engine = Engine::start(options);
    EXPECT_FALSE(engine.has_value());
    return engine ? Error{} : engine.error();
  };
  EXPECT_EQ(refusal([](EngineOptions& o) { o.model_path = "/nowhere.gguf"; }).param, "model");
  EXPECT_NE(refusal([](EngineOptions& o) {
              o.model_path = "/nowhere.gguf";
            }).message.find("/nowhere.gguf"),
            std::string::npos);
  EXPECT_EQ(refusal([](EngineOptions& o) { o.block = Tokens(48); }).param, "block");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.prefill_chunk = Tokens(100); }).param,
            "prefill_chunk");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_running = 256; }).param, "max_running");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.loras = {{"x", "/nowhere"}}; }).param, "lora");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.kv_pool = Tokens(1024); }).param, "kv_pool");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.block_store = Bytes(1); }).param, "block_store");
}

TEST(Engine, SeededDrawsRepeat) {
  const auto engine = start_engine();
  EngineRequest request = greedy(random_prompt(70, 3), 24);
  request.sampling.temperature = 1.5F;
  request.sampling.top_k = 20;
  request.sampling.seed = 7;
  const auto first = run(*engine, request);
  const auto second = run(*engine, request);
  EXPECT_EQ(first->ids(), second->ids());
  request.sampling.seed = 8;
  EXPECT_NE(first->ids(), run(*engine, request)->ids());
}

TEST(Engine, TellsLogprobs) {
  const auto engine = start_engine();
  EngineRequest request = greedy(random_prompt(30, 3), 4);
  request.sampling.logprobs = 3;
  const auto sink = run(*engine, request);
  ASSERT_EQ(sink->tokens().size(), 4U);
  for (const EngineToken& token : sink->tokens()) {
    ASSERT_TRUE(token.logprob.has_value());
    ASSERT_EQ(token.top.size(), 3U);
    EXPECT_GE(token.top[0].logprob, token.top[1].logprob);
    EXPECT_LE(*token.logprob, 0.0F);
  }
}

TEST(Engine, RunsSixteenAtOnce) {
  const auto engine = start_engine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (unsigned i = 0; i < 16; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    engine->submit(greedy(random_prompt(50 + 20 * static_cast<int>(i), i), 20), sinks.back());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait());
    EXPECT_FALSE(sink->error());
    EXPECT_EQ(sink->ids().size(), 20U);
  }
  EXPECT_LT(engine->stats().steps, 16 * 20) << "steps were not shared";
  EXPECT_TRUE(settles(*engine));
}

TEST(Engine, WaitsForCellsAndTakesEveryoneInTurn) {
  EngineOptions options = small_options();
  options.max_context = Tokens(512);
  options.kv_pool = Tokens(768);
  const auto engine = start_engine(options);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (unsigned i = 0; i < 12; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    engine->submit(greedy(random_prompt(300, i), 100), sinks.back());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait());
    EXPECT_FALSE(sink->error());
    EXPECT_EQ(sink->ids().size(), 100U);
  }
  EXPECT_TRUE(settles(*engine));
}

TEST(Engine, CancelEndsWaitingPrefillingAndDecodingRequests) {
  EngineOptions options = small_options();
  options.max_running = 1;
  const auto engine = start_engine(options);
  const auto decoding = std::make_shared<RecordingSink>();
  const auto waiting = std::make_shared<RecordingSink>();
  const auto first = engine->submit(greedy(random_prompt(10, 1), 4000), decoding);
  ASSERT_TRUE(decoding->wait_for_tokens(1));
  const auto second = engine->submit(greedy(random_prompt(10, 2), 4000), waiting);
  engine->cancel(second);
  ASSERT_TRUE(waiting->wait());
  EXPECT_EQ(waiting->error()->code, ErrorCode::kCancelled);
  EXPECT_FALSE(decoding->ended());
  engine->cancel(first);
  ASSERT_TRUE(decoding->wait());
  EXPECT_EQ(decoding->error()->code, ErrorCode::kCancelled);

  const auto prefilling = std::make_shared<RecordingSink>();
  const std::int64_t steps = engine->stats().steps;
  const auto third = engine->submit(greedy(random_prompt(4000, 3), 10), prefilling);
  ASSERT_TRUE(eventually([&] { return engine->stats().steps > steps; }));
  engine->cancel(third);
  ASSERT_TRUE(prefilling->wait());
  EXPECT_TRUE(settles(*engine));
  EXPECT_EQ(engine->stats().requests_cancelled, 3);
  engine->cancel(third);
  EXPECT_FALSE(run(*engine, greedy({42}, 2))->error());
}

TEST(Engine, StoppingEndsEveryRequest) {
  auto engine = start_engine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (unsigned i = 0; i < 20; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    engine->submit(greedy(random_prompt(500, i), 2000), sinks.back());
  }
  engine.reset();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->ended());
}

TEST(Engine, AdaptersChangeTheAnswerAndShareNoPrefix) {
  const auto engine = start_engine();
  EngineRequest request = greedy(random_prompt(200, 1), 20);
  const auto base = run(*engine, request);
  request.lora = 0;
  const auto adapted = run(*engine, request);
  EXPECT_NE(base->ids(), adapted->ids());
  EXPECT_EQ(adapted->usage().cached_tokens, 0);
  const auto again = run(*engine, request);
  EXPECT_EQ(again->usage().cached_tokens, 192);
  EXPECT_EQ(again->ids(), adapted->ids());
}

TEST(Engine, AdaptersTakeTurnsInRealSteps) {
  const auto engine = start_engine();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 8; ++i) {
    EngineRequest request = greedy(random_prompt(40, static_cast<unsigned>(i)), 30);
    request.lora = i % 2 == 0 ? -1 : 0;
    sinks.push_back(std::make_shared<RecordingSink>());
    engine->submit(request, sinks.back());
  }
  ASSERT_TRUE(sinks[0]->wait_for_tokens(1));
  const auto [running, waiting] = engine->running_and_waiting_loras();
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait());
    EXPECT_EQ(sink->ids().size(), 30U);
  }
  EXPECT_TRUE(running.empty() || running == std::vector<std::string>{"sql"});
}

TEST(Engine, SaltsShareNoPrefix) {
  const auto engine = start_engine();
  EngineRequest request = greedy(random_prompt(200, 1), 4);
  request.cache_salt = "a";
  EXPECT_EQ(run(*engine, request)->usage().cached_tokens, 0);
  request.cache_salt = "b";
  EXPECT_EQ(run(*engine, request)->usage().cached_tokens, 0);
  request.cache_salt = "a";
  EXPECT_EQ(run(*engine, request)->usage().cached_tokens, 192);
}

TEST(Engine, EvictsOldPrefixesWhenTheStoreIsFull) {
  EngineOptions options = small_options();
  options.block_store = Bytes(8 * 140'000);  // 8 blocks
  const auto engine = start_engine(options);
  ASSERT_EQ(engine->stats().blocks_total, 8);
  (void)run(*engine, greedy(random_prompt(300, 1), 2));
  EXPECT_EQ(run(*engine, greedy(random_prompt(300, 1), 2))->usage().cached_tokens, 256);
  for (unsigned seed = 2; seed < 5; ++seed) (void)run(*engine, greedy(random_prompt(300, seed), 2));
  EXPECT_EQ(run(*engine, greedy(random_prompt(300, 1), 2))->usage().cached_tokens, 0);
  EXPECT_LE(engine->stats().blocks_used, 8);
}

TEST(Engine, KeepsBlocksOfGeneratedTokensWhereAsked) {
  EngineOptions options = small_options();
  options.keep_generated = true;
  const auto engine = start_engine(options);
  std::vector<TokenId> prompt = random_prompt(60, 1);
  const auto first = run(*engine, greedy(prompt, 100));
  const std::vector<TokenId> answer = first->ids();
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  prompt.push_back(42);
  EXPECT_EQ(run(*engine, greedy(prompt, 2))->usage().cached_tokens, 128);
}

}  // namespace
}  // namespace baton::adapters
