#include "orchestrator/simulate/study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace baton::orchestrator::simulate {
namespace {

using testing::HasSubstr;

EngineProfile usual() { return *find_engine_profile("dynamo-mocker"); }

std::string pods_problem_of(const std::string& pods) {
  const auto parsed = parse_pods(pods, usual());
  return parsed ? "" : parsed.error().message;
}

TEST(StudyTest, ReadsPods) {
  const auto pods = parse_pods("prefill=2,decode=1:dynamo-mocker*2", usual());
  ASSERT_TRUE(pods);
  ASSERT_EQ(pods->size(), 3U);
  EXPECT_EQ((*pods)[1].name, "prefill-1");
  EXPECT_EQ((*pods)[2].role, Role::kDecode);
  EXPECT_EQ((*pods)[2].profile.engine.timing.factor, 2.0);
  EXPECT_THAT(pods_problem_of("prefill"), HasSubstr("ROLE=COUNT"));
  EXPECT_THAT(pods_problem_of("prefil=1"), HasSubstr("'prefil=1'"));
  EXPECT_THAT(pods_problem_of("prefill=x,decode=1"), HasSubstr("'prefill=x'"));
  EXPECT_THAT(pods_problem_of("prefill=4"), HasSubstr("no pod of them decodes"));
  EXPECT_THAT(pods_problem_of("both=10001"), HasSubstr("more than 10000 pods"));
  EXPECT_THAT(pods_problem_of("both=1:none"), HasSubstr("llama3-8b-h100"));
  EXPECT_THAT(pods_problem_of("prefill=1,decode=1:llama3-8b-h100"), HasSubstr("share one size"));
}

TEST(StudyTest, ReadsPolicies) {
  const auto pair = parse_policy("dynamo_kv/least_request");
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->prefill, Policy::kDynamoKv);
  EXPECT_EQ(pair->decode, Policy::kLeastRequest);
  EXPECT_EQ(parse_policy("lmetric")->decode, Policy::kLmetric);
  EXPECT_THAT(parse_policy("best").error().message, HasSubstr("known: predicted, round_robin"));
  EXPECT_FALSE(parse_policy("lmetric/"));
}

TEST(StudyTest, ReadsLosses) {
  const auto pods = parse_pods("both=2", usual());
  const auto loss = parse_loss("both-1@60+2.5", *pods);
  ASSERT_TRUE(loss);
  EXPECT_EQ(loss->at, std::chrono::seconds(60));
  EXPECT_EQ(loss->away, std::chrono::milliseconds(2500));
  EXPECT_EQ(parse_loss("both-1@1", *pods)->away, Duration::max());
  EXPECT_THAT(parse_loss("both-2@1", *pods).error().message, HasSubstr("no pod 'both-2'"));
  EXPECT_THAT(parse_loss("both-1", *pods).error().message, HasSubstr("POD@SECONDS"));
  EXPECT_THAT(parse_loss("both-1@-1", *pods).error().message, HasSubstr("POD@SECONDS"));
}

class ProfileFile : public testing::Test {
 protected:
  ~ProfileFile() override { std::filesystem::remove(path_); }
  std::string problem_of(const std::string& text) {
    std::ofstream(path_) << text;
    const auto profile = find_engine_profile(path_);
    return profile ? "" : profile.error().message;
  }
  std::string path_ = std::filesystem::path(testing::TempDir()) /
                      ("profile_" + std::to_string(::getpid()) + ".json");
};

TEST_F(ProfileFile, IsReadAsItIsWritten) {
  for (const EngineProfile& profile : engine_profiles()) {
    ASSERT_EQ(problem_of(profile_json(profile)), "") << profile.name;
    const auto read = find_engine_profile(path_);
    EXPECT_EQ(profile_json(*read), profile_json(profile));
  }
}

TEST_F(ProfileFile, ChangesWhatItSaysOfItsBase) {
  ASSERT_EQ(problem_of(R"({"max_batched_tokens": 512, "base": "llama3-8b-h100"})"), "");
  const auto read = find_engine_profile(path_);
  EngineProfile expected = *find_engine_profile("llama3-8b-h100");
  EXPECT_EQ(read->name, path_.substr(path_.rfind('/') + 1));
  EXPECT_EQ(read->engine.max_batched_tokens, Tokens(512));
  expected.engine.max_batched_tokens = Tokens(512);
  expected.name = read->name;
  expected.source = read->source;
  EXPECT_EQ(profile_json(*read), profile_json(expected));
}

TEST_F(ProfileFile, SaysWhatIsWrongWithIt) {
  EXPECT_THAT(problem_of(R"({"base": "llama"})"), HasSubstr("base: must be one of dynamo-mocker,"));
  EXPECT_THAT(problem_of(R"({"base": 8})"), HasSubstr("llama3-70b-h100-tp8"));
  EXPECT_THAT(problem_of("{\n \"blocks\": 4,\n x}"), HasSubstr(path_ + ":3: no JSON"));
  EXPECT_THAT(problem_of("[]"), HasSubstr("one JSON object"));
  EXPECT_THAT(problem_of(R"({"bloks": 4})"), HasSubstr("bloks: there is no such key; known: name"));
  EXPECT_THAT(problem_of(R"({"blocks": 0})"), HasSubstr("blocks: must be from 1"));
  EXPECT_THAT(problem_of(R"({"blocks": 1.5})"), HasSubstr("blocks: must be a whole number"));
  EXPECT_THAT(problem_of(R"({"step_base_ms": -1})"), HasSubstr("step_base_ms: must be a number"));
  EXPECT_THAT(problem_of(R"({"blocks": 9})"), HasSubstr("step_base_ms: must be given"));
  EXPECT_THAT(find_engine_profile("/none/there.json").error().message, HasSubstr("cannot be read"));
  EXPECT_THAT(find_engine_profile("dynamo-mocker*x").error().message, HasSubstr("above 0"));
}

StudyOptions two_pod_study() {
  StudyOptions study;
  study.workload.kind = bench::WorkloadKind::kSharedPrefix;
  study.workload.groups = 4;
  study.workload.prompts_per_group = 10;
  study.workload.prefix_tokens = 1024;
  study.workload.output_tokens = 16;
  study.load.rate = 20;
  study.load.seed = 3;
  study.system.pods = *parse_pods("prefill=2,decode=2", *find_engine_profile("llama3-8b-h100"));
  study.policies = {*parse_policy("predicted")};
  return study;
}

TEST(StudyTest, ARunIsAResultFileWithItsSystem) {
  StudyOptions study = two_pod_study();
  study.goodput = *bench::parse_slo("ttft:2000,tpot:50");
  const auto result = run_study(study, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->json.at("completed"), 40);
  EXPECT_EQ(result->records.size(), 40U);
  const bench::Json& system = result->json.at("system");
  EXPECT_GT(system.at("reuse").get<double>(), 0.3);  // of 1,024 in 1,152 tokens, most are shared
  EXPECT_EQ(system.at("pods").size(), 4U);
  EXPECT_GT(system.at("prefill_busy").get<double>(), 0.0);
  EXPECT_LE(system.at("prefill_busy").get<double>(), 1.0);
  EXPECT_THAT(render_study(result->json), HasSubstr("of prompt tokens reused"));
}

TEST(StudyTest, ManyPodsDoNotFillTheTable) {
  StudyOptions study = two_pod_study();
  study.system.pods = *parse_pods("both=40", *find_engine_profile("llama3-8b-h100"));
  study.policies = {*parse_policy("round_robin")};
  study.system.split = Split::kNever;
  const auto result = run_study(study, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->json.at("system").at("pods").size(), 40U);
  EXPECT_THAT(render_study(result->json), HasSubstr(" and 24 more"));
}

TEST(StudyTest, SeveralPoliciesAreCompared) {
  StudyOptions study = two_pod_study();
  study.policies = {*parse_policy("predicted"), *parse_policy("random")};
  study.load.repeats = 2;
  const auto result = run_study(study, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->json.at("kind"), "compare");
  EXPECT_EQ(result->records.size(), 160U);
  EXPECT_THAT(render_study(result->json), HasSubstr("random"));
}

TEST(StudyTest, JitterShiftsArrivalsBySeed) {
  StudyOptions study = two_pod_study();
  const auto sent = [](const StudyOptions& options) {
    std::vector<Duration> times;
    for (const auto& record : run_study(options, {})->records) times.push_back(record.scheduled);
    return times;
  };
  const auto plain = sent(study);
  study.jitter = std::chrono::milliseconds(100);
  const auto shifted = sent(study);
  EXPECT_NE(shifted, plain);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_LE(std::abs((shifted[i] - plain[i]).count()), Duration(study.jitter).count());
  }
  EXPECT_EQ(sent(study), shifted);
}

TEST(StudyTest, FindsTheFewestPods) {
  StudyOptions study = two_pod_study();
  study.profile = *find_engine_profile("llama3-8b-h100");
  study.ratio = RatioOptions{.most_pods = 8, .good_share = 0.95};
  EXPECT_THAT(run_study(study, {}).error().message, HasSubstr("--goodput"));
  study.goodput = *bench::parse_slo("ttft:400,tpot:20");
  const auto result = run_study(study, {});
  ASSERT_TRUE(result) << result.error().message;
  const bench::Json& best = result->json.at("best");
  ASSERT_FALSE(best.is_null());
  EXPECT_GE(best.at("good_share").get<double>(), 0.95);
  EXPECT_THAT(render_study(result->json), HasSubstr("fewest: "));
  study.goodput = *bench::parse_slo("ttft:1");
  const auto none = run_study(study, {});
  EXPECT_TRUE(none->json.at("best").is_null());
  EXPECT_THAT(render_study(none->json), HasSubstr("not even 8 pods hold it"));
}

StudyOptions study_of_sessions() {
  StudyOptions study;
  study.workload.kind = bench::WorkloadKind::kSessions;
  study.workload.sessions = 4;
  study.workload.turns = 3;
  study.workload.first_tokens = 800;
  study.workload.turn_tokens = 64;
  study.workload.output_tokens = 32;
  study.workload.think_time = std::chrono::seconds(2);
  study.load.rate = 100;
  study.load.seed = 3;
  study.system.pods = *parse_pods("both=2", *find_engine_profile("llama3-8b-h100"));
  study.policies = {*parse_policy("predicted")};
  return study;
}

TEST(StudyTest, TurnsOfASessionHoldItsAnswersAndComeAfterThem) {
  const auto result = run_study(study_of_sessions(), {});
  ASSERT_TRUE(result) << result.error().message;
  const auto& records = result->records;
  ASSERT_EQ(records.size(), 12U);
  for (std::size_t i = 4; i < records.size(); ++i) {
    const bench::RequestRecord& before = records[i - 4];
    EXPECT_TRUE(records[i].completed());
    EXPECT_EQ(records[i].session, before.session);
    EXPECT_EQ(records[i].prompt_tokens, before.prompt_tokens + 32 + 64);
    EXPECT_EQ(records[i].sent, before.ended + std::chrono::seconds(2));
    // The answer's KV too is in the pod's cache, but for its last token and a block that is not
    // full.
    EXPECT_GE(records[i].cached_tokens, before.prompt_tokens + 32 - 1 - 15);
  }
}

TEST(StudyTest, ATurnThatFailsIsLeftOutOfTheNext) {
  StudyOptions study = study_of_sessions();
  study.workload.sessions = 1;
  study.workload.output_tokens = 64;  // some 500 ms
  study.system.pods = *parse_pods("both=1", *find_engine_profile("llama3-8b-h100"));
  study.system.losses = {*parse_loss("both-0@0.3+0", study.system.pods)};
  study.workload.think_time = std::chrono::seconds(100);  // longer than the pod takes to start
  const auto result = run_study(study, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->records[0].completed());
  EXPECT_TRUE(result->records[1].completed());
  EXPECT_EQ(result->records[1].prompt_tokens, 64);
  EXPECT_EQ(result->records[2].prompt_tokens, 64 + 64 + 64);
}

TEST(StudyTest, TakesNoClosedLoop) {
  StudyOptions study = two_pod_study();
  study.load.concurrency = 4;
  const auto result = run_study(study, {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("open loop"));
}

}  // namespace
}  // namespace baton::orchestrator::simulate
