#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "orchestrator/bench/workload/workloads.h"
#include "tests/unit/bench/workload_fixtures.h"

namespace baton::orchestrator::bench {
namespace {

using testing::HasSubstr;

TEST(Mixes, SharesAreThoseOfTheWeights) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.input_tokens = 4;
  spec.output_tokens = 50;
  spec.models = {{"base", 3}, {"never", 0}, {"lora", 1}};
  spec.priorities = {{0, 0.9}, {5, 0.1}};
  spec.leave_share = 0.25;
  const auto workload = made(spec, prompts);
  std::map<std::string, int> models;
  std::map<int, int> priorities;
  std::map<int, int> leaves;
  int leaving = 0;
  for (std::size_t i = 0; i < 10000; ++i) {
    const WorkloadRequest request = nth(*workload, i);
    ++models[request.model];
    ++priorities[request.priority];
    if (!request.leave_after_tokens) continue;
    ++leaving;
    ++leaves[*request.leave_after_tokens];
  }
  EXPECT_EQ(models.size(), 2);
  EXPECT_NEAR(models["lora"], 2500, 200);
  EXPECT_EQ(priorities.size(), 2);
  EXPECT_NEAR(priorities[5], 1000, 150);
  EXPECT_NEAR(leaving, 2500, 200);
  EXPECT_EQ(leaves.size(), 50);
  EXPECT_EQ(leaves.begin()->first, 0);
  EXPECT_EQ(leaves.rbegin()->first, 49);
  EXPECT_EQ(workload->describe(),
            "random prompts: input 4 tokens, output 50; models base 75 %, never 0 %, lora 25 %; "
            "priorities 0 90 %, 5 10 %; 25 % leave early");
}

TEST(Mixes, TurnsOfASessionStayWithTheirModel) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec = sessions_spec();
  spec.sessions = 40;
  spec.models = {{"a", 1}, {"b", 1}};
  spec.priorities = {{1, 1}, {2, 1}};
  const auto workload = made(spec, prompts);
  std::set<std::string> models;
  for (std::size_t i = 0; i < 40; ++i) {
    const WorkloadRequest first = nth(*workload, i);
    models.insert(first.model);
    for (const std::size_t later : {i + 40, i + 80}) {
      EXPECT_EQ(nth(*workload, later).model, first.model);
      EXPECT_EQ(nth(*workload, later).priority, first.priority);
    }
  }
  EXPECT_EQ(models.size(), 2);
  workload->answered(0, "kept");
  EXPECT_EQ(nth(*workload, 40).turns.size(), 3);
  EXPECT_EQ(workload->follows(40)->first, 0);
}

// By rank 1, 1/2, 1/3, 1/4 of 25/12.
TEST(Mixes, AdaptersAreAsPopularAsTheirRankSays) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.models = adapter_mix(4, 1);
  const auto workload = made(spec, prompts);
  std::map<std::string, int> models;
  for (std::size_t i = 0; i < 10000; ++i) ++models[nth(*workload, i).model];
  EXPECT_EQ(models.size(), 4);
  EXPECT_NEAR(models["adapter-0"], 4800, 200);
  EXPECT_NEAR(models["adapter-1"], 2400, 200);
  EXPECT_NEAR(models["adapter-3"], 1200, 150);
  for (const auto& adapter : adapter_mix(3, 0)) EXPECT_EQ(adapter.weight, 1.0);
}

TEST(Mixes, ManyModelsAreNotAllNamed) {
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.models = adapter_mix(64, 0);
  EXPECT_THAT(made(spec, prompts)->describe(), testing::EndsWith("adapter-7 1.56 %, and 56 more"));
}

TEST(Mixes, AreRead) {
  const auto models = parse_model_mix("base=3,sql=lora=0.5,plain");
  ASSERT_TRUE(models) << models.error().message;
  ASSERT_EQ(models->size(), 3);
  EXPECT_EQ((*models)[0].value, "base");
  EXPECT_EQ((*models)[0].weight, 3);
  EXPECT_EQ((*models)[1].value, "sql=lora");
  EXPECT_EQ((*models)[1].weight, 0.5);
  EXPECT_EQ((*models)[2].weight, 1);
  const auto priorities = parse_priority_mix("0=0.9,-5=0.1");
  ASSERT_TRUE(priorities);
  EXPECT_EQ((*priorities)[1].value, -5);
  for (const char* text : {"", "a=", "a=x", "a=-1", "=1", "a=1,", "a=0", "a=nan", "a=inf"}) {
    EXPECT_FALSE(parse_model_mix(text)) << text;
  }
  EXPECT_FALSE(parse_priority_mix("high=1"));
}

TEST(WorkloadKinds, HaveNames) {
  for (const char* name :
       {"random", "shared-prefix", "sessions", "mooncake", "azure", "sharegpt", "custom"}) {
    const auto kind = parse_workload_kind(name);
    ASSERT_TRUE(kind) << name;
    EXPECT_STREQ(name_of(*kind), name);
  }
  EXPECT_THAT(parse_workload_kind("sonnet").error().message, HasSubstr("shared-prefix"));
}

TEST(WorkloadSpec, OptionsOutOfRangeAreNamed) {
  const PromptBuilder prompts = builder_of(word_tokens);
  const auto problem = [&](auto change) {
    WorkloadSpec spec;
    change(spec);
    return problem_of(spec, prompts);
  };
  EXPECT_THAT(problem([](auto& s) { s.input_tokens = 0; }), HasSubstr("input_tokens"));
  EXPECT_THAT(problem([](auto& s) { s.output_tokens = 1 << 30; }), HasSubstr("output_tokens"));
  EXPECT_THAT(problem([](auto& s) { s.range_ratio = 1; }), HasSubstr("range_ratio"));
  EXPECT_THAT(problem([](auto& s) { s.time_scale = 0; }), HasSubstr("time_scale"));
  EXPECT_THAT(problem([](auto& s) { s.leave_share = std::nan(""); }), HasSubstr("leave_share"));
  EXPECT_THAT(problem([](auto& s) { s.think_time = Duration(-1); }), HasSubstr("think_time"));
  EXPECT_THAT(problem([](auto& s) { s.models = {{"a", 0}}; }), HasSubstr("models"));
  EXPECT_THAT(problem([](auto& s) { s.max_input_tokens = -1; }), HasSubstr("max_input_tokens"));
  EXPECT_THAT(problem([](auto& s) { s.max_output_tokens = -1; }), HasSubstr("max_output_tokens"));
  EXPECT_THAT(problem([](auto& s) {
                s.kind = WorkloadKind::kSharedPrefix;
                s.zipf = -1;
              }),
              HasSubstr("zipf"));
  EXPECT_THAT(problem([](auto& s) {
                s.kind = WorkloadKind::kSessions;
                s.turns = 0;
              }),
              HasSubstr("turns"));
}

TEST(WorkloadSpec, FilesThatAreNotThere) {
  const TestFolder folder;
  const PromptBuilder prompts = builder_of(word_tokens);
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kMooncake;
  EXPECT_EQ(problem_of(spec, prompts), "this workload needs a file");
  spec.file = "/no/such/file.jsonl";
  EXPECT_EQ(problem_of(spec, prompts),
            "cannot read /no/such/file.jsonl: No such file or directory");
  spec.file = std::filesystem::path(testing::TempDir());
  EXPECT_THAT(problem_of(spec, prompts), HasSubstr("Is a directory"));
  spec.file = folder.add("broken.jsonl", std::string(kMooncake) + "{");
  EXPECT_THAT(problem_of(spec, prompts), HasSubstr("broken.jsonl:5: malformed JSON"));
}

}  // namespace
}  // namespace baton::orchestrator::bench
