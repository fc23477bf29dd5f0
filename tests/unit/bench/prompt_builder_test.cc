#include "orchestrator/bench/workload/prompt_builder.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/unit/bench/toy_tokenizers.h"
#include "tests/unit/http/test_server.h"

namespace baton::orchestrator::bench {
namespace {

using adapters::http::Exchange;
using adapters::http::Task;
using adapters::http::TestServer;

PromptBuilder built_for(int (*count)(std::string_view), std::uint64_t seed = 1) {
  auto builder = PromptBuilder::from_counts("toy", count_by(count), seed);
  EXPECT_TRUE(builder) << builder.error().message;
  return std::move(*builder);
}

// Counts texts and rounds of questions.
struct Asked {
  int texts = 0;
  int rounds = 0;
};
CountTokens watched(CountTokens count, Asked& asked) {
  return [count = std::move(count), &asked](const std::vector<std::string>& texts) {
    asked.texts += static_cast<int>(texts.size());
    ++asked.rounds;
    return count(texts);
  };
}

TEST(WordCosts, WordsDiffer) {
  const auto words = prompt_words();
  EXPECT_EQ(std::set<std::string_view>(words.begin(), words.end()).size(), words.size());
}

struct Vocabulary {
  const char* name;
  int (*count)(std::string_view);
  int most_texts;
};

class Vocabularies : public testing::TestWithParam<Vocabulary> {};

TEST_P(Vocabularies, CostsAreWhatTheWordsCostAndTakeFewQuestions) {
  Asked asked;
  const auto costs = learn_word_costs(watched(count_by(GetParam().count), asked));
  ASSERT_TRUE(costs) << costs.error().message;
  ASSERT_EQ(costs->units.size(), prompt_words().size());
  for (std::size_t i = 0; i < prompt_words().size(); ++i) {
    const std::string word = " " + std::string(prompt_words()[i]);
    EXPECT_EQ(costs->units[i], GetParam().count(word)) << word;
  }
  EXPECT_EQ(costs->full_stop_units, GetParam().count("."));
  EXPECT_EQ(costs->units_per_token, 1);
  EXPECT_EQ(costs->start_tokens, 0);
  EXPECT_LE(asked.texts, GetParam().most_texts);
  EXPECT_LE(asked.rounds, 10);
}

TEST_P(Vocabularies, BlocksAreExactAloneAndTogether) {
  const PromptBuilder builder = built_for(GetParam().count);
  EXPECT_EQ(builder.error().sampled, 8);
  EXPECT_EQ(builder.error().max_tokens_off, 0);
  std::string all;
  int total = 0;
  for (int tokens = 0; tokens <= 700; ++tokens) {
    const std::string text = builder.block(static_cast<std::uint64_t>(tokens) % 17, tokens);
    ASSERT_EQ(GetParam().count(text), tokens);
    if (tokens < 2) continue;  // a lone full stop runs into one before it
    all += text;
    total += tokens;
  }
  EXPECT_EQ(GetParam().count(all), total);
}

TEST_P(Vocabularies, TextDependsOnSeedAndIdAlone) {
  const auto count = GetParam().count;
  const PromptBuilder builder = built_for(count, 1);
  EXPECT_EQ(builder.block(5, 300), built_for(count, 1).block(5, 300));
  EXPECT_NE(builder.block(5, 300), built_for(count, 2).block(5, 300));
  std::set<std::string> texts;
  for (std::uint64_t id = 0; id < 500; ++id) texts.insert(builder.block(id, 40));
  EXPECT_EQ(texts.size(), 500);
}

TEST_P(Vocabularies, BlocksBeginAlike) {
  const PromptBuilder builder = built_for(GetParam().count);
  for (std::uint64_t id = 0; id < 50; ++id) {
    EXPECT_TRUE(builder.block(id, 40).starts_with(" the "));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Vocabularies,
                         testing::Values(Vocabulary{"bytes", byte_tokens, 4},
                                         Vocabulary{"words", word_tokens, 4},
                                         Vocabulary{"mixed", mixed_tokens, 300}),
                         [](const auto& kind) { return kind.param.name; });

TEST(WordCosts, RareSplitWordsAreFoundByHalving) {
  Asked asked;
  const CountTokens count = watched(count_by([](std::string_view text) {
                                      int tokens = 0;
                                      for (const auto piece : pretokens(text)) {
                                        tokens += piece == " harbour" || piece == " street" ? 2 : 1;
                                      }
                                      return tokens;
                                    }),
                                    asked);
  const auto costs = learn_word_costs(count);
  ASSERT_TRUE(costs);
  for (std::size_t i = 0; i < prompt_words().size(); ++i) {
    EXPECT_EQ(costs->units[i], prompt_words()[i] == "street" ? 2 : 1);
  }
  EXPECT_EQ(asked.texts, 4 + 8);
}

TEST(PromptBuilder, WhatTheTokenizerPutsFirstIsOverhead) {
  const PromptBuilder builder = built_for([](std::string_view text) {
    return 2 + word_tokens(text);  // BOS, and a token for the space at the beginning
  });
  EXPECT_EQ(builder.overhead(), 2);
  EXPECT_EQ(builder.error().max_tokens_off, 0);
  EXPECT_EQ(word_tokens(builder.block(1, 100)), 100);
}

TEST(PromptBuilder, TokensThatSpanWordsAreMetInProportion) {
  const PromptBuilder builder = built_for(pair_tokens);
  EXPECT_GT(builder.error().max_tokens_off, 0);
  for (const int tokens : {50, 200, 1000}) {
    EXPECT_NEAR(pair_tokens(builder.block(3, tokens)), tokens, 0.08 * tokens);
  }
}

// A word costs a token more after some words: sums learnt of groups do not hold in other company.
int sociable_tokens(std::string_view text) {
  int tokens = 0;
  std::string_view before;
  for (const std::string_view piece : pretokens(text)) {
    const std::hash<std::string_view> hash;
    tokens += scramble(hash(before) * 3 + hash(piece)) % 8 == 0 ? 2 : 1;
    before = piece;
  }
  return tokens;
}

TEST(PromptBuilder, WordsThatCostMoreInCompanyComeNear) {
  const PromptBuilder builder = built_for(sociable_tokens);
  EXPECT_GT(builder.error().max_tokens_off, 0);
  EXPECT_LE(builder.error().max_tokens_off, 51);  // of 1,024
  for (const int tokens : {200, 400, 1000}) {
    EXPECT_NEAR(sociable_tokens(builder.block(9, tokens)), tokens, 0.08 * tokens);
  }
}

TEST(PromptBuilder, CountsThatDoNotGrowAreAnError) {
  const auto builder =
      PromptBuilder::from_counts("toy", count_by([](std::string_view) { return 3; }), 1);
  ASSERT_FALSE(builder);
  EXPECT_EQ(builder.error().code, ErrorCode::kUpstream);
}

TEST(PromptBuilder, PassesTheErrorOfTheSource) {
  int left = 1;  // the second round fails
  const CountTokens count = [&](const std::vector<std::string>& texts) -> Result<std::vector<int>> {
    if (left-- == 0) return fail(ErrorCode::kTimeout, Stage::kRouter, "too slow");
    return count_by(mixed_tokens)(texts);
  };
  const auto builder = PromptBuilder::from_counts("toy", count, 1);
  ASSERT_FALSE(builder);
  EXPECT_EQ(builder.error().message, "too slow");
}

TEST(PromptBuilder, VocabularyThatIsHere) {
  const auto builder =
      PromptBuilder::from_vocabulary(std::make_shared<ToyTokenizer>(word_tokens), "m.gguf", 1);
  ASSERT_TRUE(builder);
  EXPECT_EQ(builder->source(), "GGUF vocabulary m.gguf");
  EXPECT_EQ(builder->overhead(), 1);
  EXPECT_EQ(word_tokens(builder->block(1, 99)), 99);
  EXPECT_EQ(builder->count("one, two three"), 4);
  EXPECT_EQ(builder->count(""), 0);
}

TEST(PromptBuilder, CountsUnknownTextByItsBytes) {
  EXPECT_EQ(built_for(byte_tokens).count("whatever it is"), 14);
  const int words = built_for(word_tokens).count(std::string(600, 'x'));
  EXPECT_NEAR(words, 125, 25);  // English has about five letters a word
}

TEST(PromptBuilder, BuildTakesTheOverheadOffTheEnd) {
  PromptBuilder builder = built_for(word_tokens);
  builder.set_overhead(30);
  const std::array<Piece, 3> pieces = {Piece{1, 100}, Piece{2, 50}, Piece{3, 20}};
  WorkloadRequest request;
  builder.build(pieces, request);
  EXPECT_EQ(request.prompt_tokens, 170);
  ASSERT_EQ(request.turns.size(), 1);
  EXPECT_EQ(request.turns[0].role, "user");
  EXPECT_EQ(request.turns[0].text, builder.block(1, 100) + builder.block(2, 40));
}

TEST(PromptBuilder, BuildLeavesSomethingOfTheShortestPrompt) {
  PromptBuilder builder = built_for(word_tokens);
  builder.set_overhead(30);
  WorkloadRequest request;
  builder.build(std::array<Piece, 1>{Piece{1, 8}}, request);
  EXPECT_EQ(word_tokens(request.turns.at(0).text), 1);
  EXPECT_EQ(request.prompt_tokens, 31);
}

TEST(PromptBuilder, TokenIds) {
  const auto builder = PromptBuilder::from_token_ids({.first = 100, .last = 199}, 4);
  EXPECT_EQ(builder.source(), "token ids");
  WorkloadRequest request;
  builder.build(std::array<Piece, 2>{Piece{1, 512}, Piece{2, 88}}, request);
  WorkloadRequest other;
  builder.build(std::array<Piece, 2>{Piece{1, 512}, Piece{3, 88}}, other);
  ASSERT_EQ(request.token_ids.size(), 600);
  EXPECT_EQ(request.prompt_tokens, 600);
  EXPECT_TRUE(request.turns.empty());
  EXPECT_EQ(std::ranges::min(request.token_ids), 100);
  EXPECT_EQ(std::ranges::max(request.token_ids), 199);
  EXPECT_TRUE(std::equal(request.token_ids.begin(), request.token_ids.begin() + 512,
                         other.token_ids.begin()));
  EXPECT_NE(request.token_ids, other.token_ids);
}

TEST(Calibration, FitsALineThroughThePoints) {
  const std::array<CalibrationPoint, 3> points = {
      CalibrationPoint{400, 123}, {800, 223}, {1600, 423}};
  const auto line = calibrate(points);
  ASSERT_TRUE(line);
  EXPECT_NEAR(line->tokens_per_character, 0.25, 1e-12);
  EXPECT_EQ(line->overhead, 23);
  const auto one = calibrate(std::array<CalibrationPoint, 1>{CalibrationPoint{400, 100}});
  ASSERT_TRUE(one);
  EXPECT_NEAR(one->tokens_per_character, 0.25, 1e-12);
  EXPECT_EQ(one->overhead, 0);
}

TEST(Calibration, RefusesPointsThatSayNothing) {
  EXPECT_FALSE(calibrate({}));
  EXPECT_FALSE(calibrate(std::array<CalibrationPoint, 1>{CalibrationPoint{0, 10}}));
  EXPECT_FALSE(calibrate(std::array<CalibrationPoint, 2>{CalibrationPoint{10, 5}, {20, 5}}));
}

TEST(Calibration, TextHasTheCharactersAskedFor) {
  for (const std::size_t characters : {1, 2, 3, 5, 17, 1000, 4096}) {
    EXPECT_EQ(calibration_text(characters).size(), characters);
  }
}

TEST(Calibration, PromptsOfCalibratedCharactersComeNear) {
  constexpr int kTemplate = 11;
  std::vector<CalibrationPoint> points;
  for (const std::size_t characters : {500, 1000, 2000}) {
    points.push_back({characters, word_tokens(calibration_text(characters)) + kTemplate});
  }
  const auto line = calibrate(points);
  ASSERT_TRUE(line);
  EXPECT_NEAR(line->overhead, kTemplate, 8);
  const PromptBuilder builder = PromptBuilder::from_characters(*line, 3);
  EXPECT_EQ(builder.source(), "calibrated characters");
  EXPECT_EQ(builder.overhead(), line->overhead);
  for (const int tokens : {200, 1000, 4000}) {
    EXPECT_NEAR(word_tokens(builder.block(1, tokens)), tokens, 0.08 * tokens);
  }
}

TEST(PromptOverhead, IsWhatTheServerCountsBeyondTheText) {
  EXPECT_EQ(measured_overhead(80, 64), 16);
  EXPECT_EQ(measured_overhead(60, 64), 0);
}

// Servers.

Task<void> tokenize_bytes(Exchange& exchange, std::atomic<int>& calls) {
  const auto asked = nlohmann::json::parse(exchange.request().body);
  calls += exchange.request().path() == "/tokenize" && asked.at("model") == "m" ? 1 : 1000;
  nlohmann::json answer;
  answer["tokens"] = std::vector<int>(asked.at("prompt").get<std::string>().size() + 1, 5);
  (void)co_await exchange.send(200, {{"content-type", "application/json"}}, answer.dump());
}

TEST(PromptBuilder, ServerThatCountsBytes) {
  std::atomic<int> calls = 0;
  TestServer server([&calls](Exchange& exchange) { return tokenize_bytes(exchange, calls); });
  boost::asio::io_context io;
  const auto builder = PromptBuilder::from_server(io, {"127.0.0.1", server.port()}, "m", 1);
  ASSERT_TRUE(builder) << builder.error().message;
  EXPECT_EQ(builder->source(), "server /tokenize");
  EXPECT_EQ(builder->overhead(), 1);
  EXPECT_EQ(builder->error().sampled, 8);
  EXPECT_EQ(builder->error().max_tokens_off, 0);
  EXPECT_EQ(builder->block(4, 1234).size(), 1234);
  EXPECT_EQ(calls, 4 + 8);
  io.restart();
  io.run_for(std::chrono::seconds(10));
  EXPECT_TRUE(io.stopped()) << "work is left on the caller's loop";
}

Task<void> answer(Exchange& exchange, unsigned status, std::string body) {
  (void)co_await exchange.send(status, {{"content-type", "text/html"}}, std::move(body));
}

TEST(PromptBuilder, ServersWithoutTokenize) {
  boost::asio::io_context io;
  {
    TestServer server([](Exchange& exchange) { return answer(exchange, 404, ""); });
    const auto builder = PromptBuilder::from_server(io, {"127.0.0.1", server.port()}, "m", 1);
    ASSERT_FALSE(builder);
    EXPECT_EQ(builder.error().message, "/tokenize answered 404");
  }
  TestServer server([](Exchange& exchange) { return answer(exchange, 200, "<html>"); });
  const auto builder = PromptBuilder::from_server(io, {"127.0.0.1", server.port()}, "m", 1);
  ASSERT_FALSE(builder);
  EXPECT_EQ(builder.error().code, ErrorCode::kUpstream);
}

TEST(PromptBuilder, NoServerAtAll) {
  std::uint16_t port = 0;
  {
    port = adapters::http::RawServer().port();
  }
  boost::asio::io_context io;
  const auto builder = PromptBuilder::from_server(io, {"127.0.0.1", port}, "m", 1);
  ASSERT_FALSE(builder);
  EXPECT_EQ(builder.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace baton::orchestrator::bench
