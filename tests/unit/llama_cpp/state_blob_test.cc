#include "adapters/engines/llama_cpp/state_blob.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "adapters/engines/llama_cpp/llama_runtime.h"
#include "tests/unit/llama_cpp/engine_harness.h"

namespace baton::adapters {
namespace {

constexpr int kSequence = 3;
constexpr int kPrompt = 512;

// A runtime whose sequence kSequence holds a prompt; another one's cells lie between its parts.
LlamaRuntime computed_runtime() {
  EngineOptions options;
  options.model_path = test_model().model_path;
  options.kv_pool = Tokens(2048);
  options.max_context = Tokens(1024);
  auto runtime = LlamaRuntime::load(options);
  EXPECT_TRUE(runtime.has_value());
  const std::vector<TokenId> prompt = random_prompt(kPrompt, 9);
  for (int begin = 0; begin < kPrompt; begin += 128) {
    for (const int sequence : {kSequence, kSequence + 1}) {
      std::vector<BatchToken> batch;
      for (int i = begin; i < begin + 128; ++i) {
        batch.push_back({prompt[static_cast<std::size_t>(i)], i, sequence, false});
      }
      EXPECT_TRUE(runtime->decode(batch, -1).has_value());
    }
  }
  return std::move(*runtime);
}

std::vector<std::byte> exported(LlamaRuntime& runtime, int first, int count, int ahead) {
  std::vector<std::byte> out(runtime.bytes_per_token() * static_cast<std::size_t>(count) +
                             runtime.block_bytes());
  out.resize(runtime.export_range(kSequence, first, count, ahead, out));
  return out;
}

TEST(StateBlob, RangesTakenOutTogetherAreThoseTakenOutAlone) {
  LlamaRuntime runtime = computed_runtime();
  const std::vector<std::byte> whole = exported(runtime, 0, kPrompt, 0);
  ASSERT_TRUE(StateBlob::parse(whole).has_value());
  EXPECT_EQ(StateBlob::parse(whole)->rows(), kPrompt);
  std::mt19937 rng(5);
  for (int i = 0; i < 40; ++i) {
    const int first = static_cast<int>(rng() % (kPrompt - 1));
    const int count = 1 + static_cast<int>(rng() % static_cast<unsigned>(kPrompt - first));
    const std::vector<std::byte> alone = exported(runtime, first, count, 0);
    ASSERT_FALSE(alone.empty());
    EXPECT_EQ(exported(runtime, first, count, kPrompt - first), alone) << first << "+" << count;
  }
}

TEST(StateBlob, WhatWasTakenOutIsForgottenWhenTheCacheChanges) {
  LlamaRuntime runtime = computed_runtime();
  const std::vector<std::byte> before = exported(runtime, 64, 64, 256);
  runtime.drop(kSequence);
  EXPECT_TRUE(exported(runtime, 64, 64, 256).empty());
  const std::vector<TokenId> other = random_prompt(128, 10);
  std::vector<BatchToken> batch;
  for (int i = 0; i < 128; ++i) {
    batch.push_back({other[static_cast<std::size_t>(i)], i, kSequence, false});
  }
  ASSERT_TRUE(runtime.decode(batch, -1).has_value());
  EXPECT_NE(exported(runtime, 64, 64, 64), before);
}

TEST(StateBlob, WhatIsNotOfItsFormIsRefused) {
  LlamaRuntime runtime = computed_runtime();
  const std::vector<std::byte> good = exported(runtime, 0, 64, 0);
  for (std::size_t size = 0; size < 900; ++size) {
    EXPECT_FALSE(StateBlob::parse(std::span(good).first(size)).has_value()) << size;
  }
  EXPECT_FALSE(StateBlob::parse(std::span(good).first(good.size() - 1)).has_value());
  const auto changed = [&](std::size_t at, std::uint32_t value) {
    std::vector<std::byte> bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return StateBlob::parse(bytes).has_value();
  };
  EXPECT_FALSE(changed(8, 2));                 // streams
  EXPECT_FALSE(changed(12, 63));               // rows
  EXPECT_FALSE(changed(12, 0xFFFFFFFF));       // rows
  EXPECT_FALSE(changed(16 + 12, 5));           // the second row's position
  EXPECT_FALSE(changed(16 + 4, 2));            // sequences of a cell
  EXPECT_FALSE(changed(16 + 64 * 12, 1));      // transposed
  EXPECT_FALSE(changed(16 + 64 * 12 + 4, 0));  // layers
}

TEST(StateBlob, ATooSmallTargetIsNotWrittenBeyond) {
  LlamaRuntime runtime = computed_runtime();
  const std::vector<std::byte> whole = exported(runtime, 0, 128, 0);
  const auto blob = StateBlob::parse(whole);
  ASSERT_TRUE(blob.has_value());
  std::vector<std::byte> out(whole.size());
  const std::size_t size = blob->copy_rows(0, 64, out);
  ASSERT_GT(size, 0U);
  for (const std::size_t room : {std::size_t{0}, std::size_t{10}, size / 2, size - 1}) {
    EXPECT_EQ(blob->copy_rows(0, 64, std::span(out).first(room)), 0U) << room;
  }
  EXPECT_EQ(blob->copy_rows(0, 64, std::span(out).first(size)), size);
}

}  // namespace
}  // namespace baton::adapters
