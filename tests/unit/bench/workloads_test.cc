#include "orchestrator/bench/workload/workloads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "tests/unit/bench/workload_fixtures.h"

namespace baton::orchestrator::bench {
namespace {

using testing::HasSubstr;

void expect_same(const WorkloadRequest& a, const WorkloadRequest& b) {
  EXPECT_EQ(a.at, b.at);
  ASSERT_EQ(a.turns.size(), b.turns.size());
  for (std::size_t i = 0; i < a.turns.size(); ++i) {
    EXPECT_EQ(a.turns[i].role, b.turns[i].role);
    EXPECT_EQ(a.turns[i].text, b.turns[i].text);
  }
  EXPECT_EQ(a.token_ids, b.token_ids);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.max_tokens, b.max_tokens);
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.priority, b.priority);
  EXPECT_EQ(a.leave_after_tokens, b.leave_after_tokens);
  EXPECT_EQ(a.session, b.session);
  EXPECT_EQ(a.last_of_session, b.last_of_session);
}

// Every kind, small, with its file.
std::vector<WorkloadSpec> every_kind(const TestFolder& folder) {
  std::vector<WorkloadSpec> specs(7);
  specs[0].input_tokens = 200;
  specs[0].range_ratio = 0.5;
  specs[0].limit = 20;
  specs[1].kind = WorkloadKind::kSharedPrefix;
  specs[1].prefix_tokens = 100;
  specs[1].question_tokens = 20;
  specs[2].kind = WorkloadKind::kSessions;
  specs[2].first_tokens = 100;
  specs[2].range_ratio = 0.2;
  specs[3].kind = WorkloadKind::kMooncake;
  specs[3].file = folder.add("mooncake.jsonl", kMooncake);
  specs[4].kind = WorkloadKind::kAzure;
  specs[4].file = folder.add("azure.csv", kAzure);
  specs[5].kind = WorkloadKind::kShareGpt;
  specs[5].file = folder.add("sharegpt.json", kShareGpt);
  specs[6].kind = WorkloadKind::kCustom;
  specs[6].file = folder.add("custom.jsonl", kCustom);
  return specs;
}

class EveryKind : public testing::TestWithParam<Count> {};

TEST_P(EveryKind, ARequestIsTheSameWhenAskedTwice) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(GetParam());
  for (WorkloadSpec spec : every_kind(folder)) {
    SCOPED_TRACE(name_of(spec.kind));
    spec.models = {{"a", 1}, {"b", 2}};
    spec.priorities = {{1, 1}, {2, 1}};
    spec.leave_share = 0.5;
    const auto workload = made(spec, prompts);
    const auto again = made(spec, prompts);
    for (std::size_t i = *workload->size(); i-- > 0;) {  // backwards: order is of no matter
      const WorkloadRequest request = nth(*workload, i);
      expect_same(request, nth(*workload, i));
      expect_same(request, nth(*again, i));
      EXPECT_EQ(request.at.has_value(), workload->has_times());
      if (request.at) EXPECT_EQ(*request.at, workload->time_of(i));
    }
  }
}

TEST_P(EveryKind, PromptsHaveTheTokensThatTheyAreSaidToHave) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(GetParam());
  for (const WorkloadSpec& spec : every_kind(folder)) {
    SCOPED_TRACE(name_of(spec.kind));
    const bool of_text = spec.kind == WorkloadKind::kShareGpt || spec.kind == WorkloadKind::kCustom;
    const auto workload = made(spec, prompts);
    for (std::size_t i = 0; i < *workload->size(); ++i) {
      const WorkloadRequest request = nth(*workload, i);
      EXPECT_GE(request.max_tokens, 1);
      const int counted = GetParam()(request.turns.front().text);
      EXPECT_EQ(request.prompt_tokens, of_text ? 0 : counted);
    }
  }
}

TEST_P(EveryKind, AnotherSeedMakesOtherPrompts) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(GetParam());
  for (WorkloadSpec spec : every_kind(folder)) {
    if (spec.kind == WorkloadKind::kShareGpt || spec.kind == WorkloadKind::kCustom) continue;
    const auto workload = made(spec, prompts);
    spec.seed = 1;
    const auto other = made(spec, prompts);
    EXPECT_NE(text_of(*workload, 0), text_of(*other, 0)) << name_of(spec.kind);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, EveryKind,
                         testing::Values(byte_tokens, word_tokens, mixed_tokens));

TEST(RandomWorkload, LengthsAreEvenlyDrawnFromTheRange) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.input_tokens = 100;
  spec.output_tokens = 10;
  spec.range_ratio = 0.2;
  const auto workload = made(spec, prompts);
  EXPECT_EQ(workload->size(), std::nullopt);
  std::map<int, int> inputs;
  std::set<int> outputs;
  std::set<std::string> texts;
  for (std::size_t i = 0; i < 4100; ++i) {
    const WorkloadRequest request = nth(*workload, i);
    ++inputs[request.prompt_tokens];
    outputs.insert(request.max_tokens);
    texts.insert(request.turns.at(0).text);
  }
  EXPECT_EQ(inputs.begin()->first, 80);
  EXPECT_EQ(inputs.rbegin()->first, 120);
  for (const auto& [length, times] : inputs) EXPECT_NEAR(times, 100, 50) << length;
  EXPECT_EQ(outputs, (std::set<int>{8, 9, 10, 11, 12}));
  EXPECT_EQ(texts.size(), 4100);
  EXPECT_EQ(workload->describe(), "random prompts: input 80 to 120 tokens, output 8 to 12");
}

TEST(RandomWorkload, LimitIsItsSizeAndTheOverheadIsPartOfTheInput) {
  PromptBuilder prompts = builder_of(word_tokens);
  prompts.set_overhead(24);
  WorkloadSpec spec;
  spec.limit = 5;
  const auto workload = made(spec, prompts);
  EXPECT_EQ(workload->size(), 5);
  EXPECT_EQ(nth(*workload, 0).prompt_tokens, 1024);
  EXPECT_EQ(word_tokens(text_of(*workload, 0)), 1000);
  EXPECT_EQ(workload->describe(), "random prompts: input 1,024 tokens, output 128");
}

TEST(RandomWorkload, OfTokenIds) {
  const auto prompts = PromptBuilder::from_token_ids({.first = 10, .last = 90}, 1);
  const auto workload = made(WorkloadSpec(), prompts);
  EXPECT_EQ(nth(*workload, 3).token_ids.size(), 1024);
}

// How often each group of 40-token prefixes comes.
std::map<std::string, int> prefixes_of(Workload& workload, std::size_t requests,
                                       const PromptBuilder& prompts, int prefix_tokens) {
  std::map<std::string, int> prefixes;
  for (std::size_t i = 0; i < requests; ++i) {
    const std::string text = text_of(workload, i);
    std::size_t at = 0;
    for (int word = 0; word < prefix_tokens; ++word) at = text.find(' ', at + 1);
    ++prefixes[text.substr(0, at)];
  }
  for (const auto& [prefix, times] : prefixes) EXPECT_EQ(prompts.count(prefix), prefix_tokens);
  return prefixes;
}

TEST(SharedPrefixWorkload, EachGroupHasItsPromptsInAShuffledOrder) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kSharedPrefix;
  spec.groups = 5;
  spec.prompts_per_group = 12;
  spec.prefix_tokens = 40;
  spec.question_tokens = 10;
  const auto workload = made(spec, prompts);
  ASSERT_EQ(workload->size(), 60);
  const auto prefixes = prefixes_of(*workload, 60, prompts, 40);
  EXPECT_EQ(prefixes.size(), 5);
  for (const auto& [prefix, times] : prefixes) EXPECT_EQ(times, 12);
  EXPECT_GT(prefixes_of(*workload, 12, prompts, 40).size(), 1);
  std::set<std::string> texts;
  for (std::size_t i = 0; i < 60; ++i) texts.insert(text_of(*workload, i));
  EXPECT_EQ(texts.size(), 60);
  EXPECT_EQ(workload->describe(),
            "shared prefixes: 5 groups of 12 prompts, prefix 40 tokens, question 10, output 128");
}

TEST(SharedPrefixWorkload, ZipfFavoursTheFirstGroups) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kSharedPrefix;
  spec.groups = 4;
  spec.prompts_per_group = 1000;
  spec.prefix_tokens = 40;
  spec.question_tokens = 10;
  spec.zipf = 1;
  const auto workload = made(spec, prompts);
  std::vector<int> times;
  for (const auto& [prefix, count] : prefixes_of(*workload, 4000, prompts, 40)) {
    times.push_back(count);
  }
  std::ranges::sort(times, std::greater{});
  ASSERT_EQ(times.size(), 4);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const double expected = 4000 / (25.0 / 12) / static_cast<double>(rank + 1);
    EXPECT_NEAR(times[rank], expected, 4 * std::sqrt(expected));
  }
  EXPECT_THAT(workload->describe(), HasSubstr("on average (zipf 1)"));
}

TEST(SessionsWorkload, TurnsHoldTheAnswersBeforeThem) {
  PromptBuilder prompts = builder_of(word_tokens);
  prompts.set_overhead(7);
  const auto workload = made(sessions_spec(), prompts);
  ASSERT_EQ(workload->size(), 9);
  for (std::size_t i = 0; i < 9; ++i) {
    const WorkloadRequest request = nth(*workload, i);
    EXPECT_EQ(request.session, static_cast<int>(i % 3));
    EXPECT_EQ(request.last_of_session, i >= 6);
    const auto follows = workload->follows(i);
    ASSERT_EQ(follows.has_value(), i >= 3);
    if (follows) EXPECT_EQ(*follows, std::pair(i - 3, Duration(std::chrono::seconds(2))));

    ASSERT_EQ(request.turns.size(), 1 + 2 * (i / 3));
    EXPECT_EQ(request.prompt_tokens, i < 3 ? 50 : 0);
    for (std::size_t turn = 0; turn < request.turns.size(); ++turn) {
      EXPECT_EQ(request.turns[turn].role, turn % 2 == 0 ? "user" : "assistant");
      const std::size_t asked_in = i % 3 + 3 * (turn / 2);
      if (turn % 2 == 1) {
        EXPECT_EQ(request.turns[turn].text, "answer " + std::to_string(asked_in));
      } else {
        EXPECT_EQ(word_tokens(request.turns[turn].text), turn == 0 ? 43 : 10);
      }
    }
    workload->answered(i, "answer " + std::to_string(i));
  }
  EXPECT_EQ(workload->describe(),
            "sessions: 3 of 3 turns, input 50 tokens at first, then 10 more each, output 128, 2 s "
            "think time");
}

TEST(SessionsWorkload, TurnsWithoutAnAnswerAreLeftOut) {
  const PromptBuilder prompts = builder_of(word_tokens);
  const auto workload = made(sessions_spec(), prompts);
  workload->answered(0, "");
  workload->answered(3, "second");
  const std::string second_question = nth(*workload, 3).turns.back().text;
  const WorkloadRequest third = nth(*workload, 6);
  ASSERT_EQ(third.turns.size(), 3);
  EXPECT_EQ(third.turns[0].text, second_question);
  EXPECT_EQ(third.turns[1].text, "second");
}

TEST(SessionsWorkload, PromptsOfIdsHoldTheIdsOfAnswers) {
  const PromptBuilder prompts = PromptBuilder::from_token_ids({3, 1000}, 0);
  const auto workload = made(sessions_spec(), prompts);
  const std::vector<int> first = nth(*workload, 0).token_ids;
  ASSERT_EQ(first.size(), 50U);
  workload->answered_ids(0, std::vector<int>{2001, 2002});
  const WorkloadRequest second = nth(*workload, 3);
  ASSERT_EQ(second.token_ids.size(), 62U);
  EXPECT_EQ(second.prompt_tokens, 62);
  EXPECT_TRUE(second.turns.empty());
  EXPECT_TRUE(std::equal(first.begin(), first.end(), second.token_ids.begin()));
  EXPECT_EQ(second.token_ids[50], 2001);
  EXPECT_EQ(second.token_ids[51], 2002);
  workload->answered_ids(3, {});  // it failed, and is left out
  const WorkloadRequest third = nth(*workload, 6);
  ASSERT_EQ(third.token_ids.size(), 62U);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), third.token_ids.begin()));
  EXPECT_EQ(nth(*workload, 4).token_ids.size(), 10U);  // of a session without an answer
}

TEST(SessionsWorkload, LimitCutsTheLastTurns) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec = sessions_spec();
  spec.limit = 7;
  const auto workload = made(spec, prompts);
  EXPECT_EQ(workload->size(), 7);
  EXPECT_FALSE(nth(*workload, 3).last_of_session);
  EXPECT_TRUE(nth(*workload, 4).last_of_session);
  EXPECT_TRUE(nth(*workload, 6).last_of_session);
}

class MooncakeWorkload : public testing::TestWithParam<Count> {};

TEST_P(MooncakeWorkload, EqualHashesGiveEqualPrefixes) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(GetParam());
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kMooncake;
  spec.file = folder.add("m.jsonl", kMooncake);
  const auto workload = made(spec, prompts);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 4; ++i) texts.push_back(text_of(*workload, i));
  const auto common_tokens = [&](std::size_t a, std::size_t b) {
    const auto [end, other] = std::ranges::mismatch(texts[a], texts[b]);
    const auto length = static_cast<std::size_t>(end - texts[a].begin());
    return GetParam()(texts[a].substr(0, length));
  };
  // Blocks begin with the same word, so texts go on alike for a few tokens more.
  EXPECT_NEAR(common_tokens(0, 1), 1024, 12);
  EXPECT_GE(common_tokens(0, 1), 1024);
  EXPECT_NEAR(common_tokens(0, 2), 512, 12);
  EXPECT_GE(common_tokens(0, 2), 512);
  EXPECT_LT(common_tokens(0, 3), 12);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, MooncakeWorkload,
                         testing::Values(byte_tokens, word_tokens, mixed_tokens));

TEST(TraceWorkloads, TimesAreScaledAndLengthsCut) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kMooncake;
  spec.file = folder.add("conversation.jsonl", kMooncake);
  spec.time_scale = 2;
  spec.max_input_tokens = 700;
  spec.max_output_tokens = 100;
  const auto workload = made(spec, prompts);
  ASSERT_EQ(workload->size(), 4);
  const std::vector<int> inputs = {700, 700, 600, 90};
  const std::vector<int> outputs = {20, 1, 100, 4};
  const std::vector<int> times_ms = {0, 500, 2000, 2500};
  for (std::size_t i = 0; i < 4; ++i) {
    const WorkloadRequest request = nth(*workload, i);
    EXPECT_EQ(word_tokens(request.turns.at(0).text), inputs[i]);
    EXPECT_EQ(request.max_tokens, outputs[i]);
    EXPECT_EQ(request.at, std::chrono::milliseconds(times_ms[i]));
  }
  EXPECT_EQ(text_of(*workload, 0), text_of(*workload, 1)) << "cut within what they share";
  EXPECT_EQ(workload->describe(),
            "mooncake trace conversation.jsonl: 4 requests over 5.0 s, input 523 tokens mean, "
            "output 31 mean, input cut to 700, output cut to 100, x2 speed");
}

TEST(TraceWorkloads, AzureIsSortedAndLimited) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kAzure;
  spec.file = folder.add("azure.csv", kAzure);
  spec.limit = 2;
  const auto workload = made(spec, prompts);
  ASSERT_EQ(workload->size(), 2);
  EXPECT_EQ(nth(*workload, 0).prompt_tokens, 318);
  EXPECT_EQ(nth(*workload, 1).prompt_tokens, 4808);
  EXPECT_EQ(workload->time_of(1), std::chrono::milliseconds(500));
  EXPECT_EQ(workload->describe(),
            "azure trace azure.csv: 2 requests over 0.5 s, input 2,563 tokens mean, output 9 mean, "
            "sorted by time (1 lines were late)");
}

TEST(TextWorkloads, ShareGptKeepsWhatFits) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kShareGpt;
  spec.file = folder.add("sharegpt.json", kShareGpt);
  spec.max_output_tokens = 5;
  const auto all = made(spec, prompts);  // but for the question of one word
  ASSERT_EQ(all->size(), 2);
  EXPECT_EQ(text_of(*all, 0), "tell me of the sea");
  EXPECT_EQ(nth(*all, 0).max_tokens, 5);
  EXPECT_EQ(nth(*all, 1).max_tokens, 5);
  EXPECT_FALSE(all->has_times());
  spec.max_input_tokens = 6;
  const auto fitting = made(spec, prompts);
  EXPECT_EQ(fitting->size(), 1);
  EXPECT_EQ(fitting->describe(),
            "sharegpt sharegpt.json: 1 prompts, input about 5 tokens mean, output 5 mean, 2 left "
            "out");
  spec.max_input_tokens = 4;
  EXPECT_THAT(problem_of(spec, prompts), HasSubstr("none of 3 conversations"));
}

TEST(TextWorkloads, CustomLinesSayWhatTheyWant) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kCustom;
  spec.file = folder.add("custom.jsonl", kCustom);
  spec.output_tokens = 33;
  spec.models = {{"mixed", 1}};
  spec.priorities = {{9, 1}};
  const auto workload = made(spec, prompts);
  ASSERT_EQ(workload->size(), 2);
  const WorkloadRequest first = nth(*workload, 0);
  EXPECT_EQ(first.max_tokens, 12);
  EXPECT_EQ(first.model, "mixed");
  EXPECT_EQ(first.priority, 9);
  EXPECT_EQ(first.at, Duration{});
  const WorkloadRequest second = nth(*workload, 1);
  EXPECT_EQ(second.turns.size(), 2);
  EXPECT_EQ(second.max_tokens, 33);
  EXPECT_EQ(second.model, "own");
  EXPECT_EQ(second.priority, 4);
  EXPECT_EQ(workload->time_of(1), std::chrono::milliseconds(200));
}

TEST(PublicTraces, MooncakePromptsAreExactAndShareTheirPrefixes) {
  const char* data = std::getenv("BATON_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "BATON_TEST_DATA is not set: no Mooncake trace";
  const auto path = std::filesystem::path(data) / "traces/mooncake_conversation.jsonl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kMooncake;
  spec.file = path;
  const auto workload = made(spec, prompts);
  ASSERT_EQ(workload->size(), 12031);
  EXPECT_EQ(workload->describe(),
            "mooncake trace mooncake_conversation.jsonl: 12,031 requests over 58.9 min, input "
            "12,035 tokens mean, output 343 mean");
  for (std::size_t i = 0; i < 12031; i += 400) {
    const WorkloadRequest request = nth(*workload, i);
    EXPECT_EQ(word_tokens(request.turns.at(0).text), request.prompt_tokens);
  }
  EXPECT_EQ(text_of(*workload, 0).substr(0, 2000), text_of(*workload, 1).substr(0, 2000));
}

}  // namespace
}  // namespace baton::orchestrator::bench
