#include "orchestrator/simulate/parameter_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace baton::orchestrator::simulate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

StudyOptions small_study() {
  StudyOptions study;
  study.workload.input_tokens = 2000;
  study.workload.output_tokens = 8;
  study.load.requests = 40;
  study.load.rate = 4;
  study.load.seed = 3;
  study.profile = *find_engine_profile("llama3-8b-h100");
  study.system.pods = *parse_pods("prefill=2,decode=1", study.profile);
  study.policies = {*parse_policy("predicted")};
  return study;
}

std::string problem_of(const std::string& text) {
  const auto sweep = parse_parameter_sweep(text);
  return sweep ? "" : sweep.error().message;
}

TEST(ParameterSweepTest, ReadsParametersAndValues) {
  const auto sweep = parse_parameter_sweep("rate=8,2,4.5,2");
  ASSERT_TRUE(sweep);
  EXPECT_EQ(sweep->parameter, "rate");
  EXPECT_THAT(sweep->values, ElementsAre(2, 4.5, 8));
  EXPECT_THAT(problem_of("rat=1"), HasSubstr("the parameters rate, time-scale, slo-ttft-ms"));
  EXPECT_THAT(problem_of("rate"), HasSubstr("PARAMETER=VALUE"));
  EXPECT_THAT(problem_of("rate="), HasSubstr("'' must be a number"));
  EXPECT_THAT(problem_of("rate=1,x"), HasSubstr("'x' must be a number"));
  EXPECT_THAT(problem_of("rate=0"), HasSubstr("'0' must be a number from"));
  EXPECT_THAT(problem_of("rate=nan"), HasSubstr("'nan' must be a number"));
  EXPECT_THAT(problem_of("replicas=1.5"), HasSubstr("whole number from 1 to 64"));
}

TEST(ParameterSweepTest, SetsEveryParameter) {
  const StudyOptions base = small_study();
  const auto at = [&](const char* parameter, double value) {
    return *study_at(base, parameter, value);
  };
  EXPECT_EQ(at("rate", 7).load.rate, 7.0);
  EXPECT_EQ(at("time-scale", 3).workload.time_scale, 3.0);
  EXPECT_EQ(at("slo-ttft-ms", 500).system.slo.ttft, std::chrono::milliseconds(500));
  EXPECT_EQ(at("slo-ttft-ms", 0).system.slo.ttft, std::nullopt);
  EXPECT_EQ(at("slo-tpot-ms", 20).system.slo.tpot, std::chrono::milliseconds(20));
  EXPECT_EQ(at("replicas", 2).system.replicas, 2);
  EXPECT_EQ(at("scrape", 5).system.scrape_interval, std::chrono::seconds(5));
  EXPECT_EQ(at("prior", 3).system.prior_factor, 3.0);
  EXPECT_EQ(at("jitter", 0.5).jitter, std::chrono::milliseconds(500));
}

std::vector<std::string> names_of(const StudyOptions& study) {
  std::vector<std::string> names;
  for (const SimulatedPod& pod : study.system.pods) names.push_back(pod.name);
  return names;
}

TEST(ParameterSweepTest, PodsAreAddedLikeTheLastOfTheirRole) {
  StudyOptions study = small_study();
  study.system.pods = *parse_pods("prefill=2,decode=1:llama3-8b-h100*2", study.profile);
  EXPECT_THAT(names_of(*study_at(study, "prefill", 1)), ElementsAre("prefill-0", "decode-0"));
  const StudyOptions more = *study_at(study, "decode", 2);
  EXPECT_THAT(names_of(more), ElementsAre("prefill-0", "prefill-1", "decode-0", "decode-1"));
  EXPECT_EQ(more.system.pods.back().profile.engine.timing.factor, 2.0);
  EXPECT_THAT(names_of(*study_at(study, "both", 1)),
              ElementsAre("prefill-0", "prefill-1", "decode-0", "both-0"));
  EXPECT_THAT(study_at(study, "decode", 0).error().message,
              HasSubstr("--sweep decode=0: no pod of them decodes"));
  study.system.losses = {*parse_loss("prefill-1@1", study.system.pods)};
  EXPECT_THAT(study_at(study, "prefill", 1).error().message, HasSubstr("no pod 'prefill-1'"));
}

TEST(ParameterSweepTest, RatesAndARampExcludeEachOther) {
  StudyOptions study = small_study();
  study.load.rate.reset();
  study.load.ramp = bench::Ramp{.from_rate = 1, .to_rate = 2};
  EXPECT_THAT(study_at(study, "rate", 2).error().message, HasSubstr("--ramp"));
  EXPECT_TRUE(study_at(study, "replicas", 2));
}

TEST(ParameterSweepTest, HasAPointForEachValueAndPolicy) {
  StudyOptions study = small_study();
  study.policies = {*parse_policy("predicted"), *parse_policy("round_robin")};
  study.goodput = *bench::parse_slo("ttft:150");
  study.load.repeats = 2;
  const auto swept = run_parameter_sweep(study, *parse_parameter_sweep("rate=1,60"), {});
  ASSERT_TRUE(swept) << swept.error().message;
  const bench::Json& json = swept->json;
  EXPECT_EQ(json.at("kind"), "parameter_sweep");
  EXPECT_EQ(json.at("unit"), "requests/s");
  ASSERT_EQ(json.at("points").size(), 4U);
  const bench::Json& slow = json.at("points")[0];
  const bench::Json& fast = json.at("points")[3];
  EXPECT_EQ(slow.at("value"), 1.0);
  EXPECT_EQ(slow.at("policy"), "predicted");
  EXPECT_EQ(fast.at("value"), 60.0);
  EXPECT_EQ(fast.at("policy"), "round_robin");
  EXPECT_LT(slow.at("mean_ttft_ms").get<double>(), fast.at("mean_ttft_ms").get<double>());
  EXPECT_EQ(slow.at("good_share"), 1.0);
  EXPECT_LT(fast.at("good_share").get<double>(), 0.9);
  EXPECT_EQ(fast.at("run").at("baton").at("repeats").size(), 2U);
  EXPECT_EQ(swept->records.size(), 2U * 2 * 2 * 40);
  EXPECT_EQ(swept->records.front().run, "rate 1, predicted");
  const std::string table = render_parameter_sweep(json);
  EXPECT_THAT(table, HasSubstr("round_robin"));
  EXPECT_THAT(table, HasSubstr("100.0"));
}

TEST(ParameterSweepTest, APointWithoutAnAnswerHasNoTimes) {
  StudyOptions study = small_study();
  study.system.losses = {*parse_loss("decode-0@0", study.system.pods)};
  const auto swept = run_parameter_sweep(study, *parse_parameter_sweep("replicas=1"), {});
  ASSERT_TRUE(swept) << swept.error().message;
  const bench::Json& point = swept->json.at("points")[0];
  EXPECT_TRUE(point.at("mean_ttft_ms").is_null());
  EXPECT_TRUE(point.at("good_share").is_null());
  EXPECT_EQ(point.at("failed"), 40.0);
  EXPECT_THAT(render_parameter_sweep(swept->json), HasSubstr(" -"));
}

}  // namespace
}  // namespace baton::orchestrator::simulate
