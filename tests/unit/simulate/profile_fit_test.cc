#include "orchestrator/simulate/profile_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "orchestrator/simulate/study.h"

namespace baton::orchestrator::simulate {
namespace {

using engine_model::DecodeWork;
using engine_model::LatencyProfile;
using engine_model::PrefillWork;
using testing::HasSubstr;

const EngineProfile& llama() {
  static const EngineProfile profile = *find_engine_profile("llama3-8b-h100");
  return profile;
}

StudyOptions study_of(const std::string& pods, double rate, int input, double range) {
  StudyOptions study;
  study.workload.input_tokens = input;
  study.workload.range_ratio = range;
  study.workload.output_tokens = 40;
  study.load.requests = 120;
  study.load.rate = rate;
  study.load.seed = 5;
  study.system.pods = *parse_pods(pods, llama());
  study.policies = {*parse_policy("round_robin")};
  study.detailed = true;
  return study;
}

MeasuredResult result_of(const StudyOptions& study) {
  return {"some/result.json", run_study(study, {})->json};
}

void expect_near(double fitted, double real, double share) {
  EXPECT_NEAR(fitted, real, share * real);
}

// Of the times themselves, over what these results held.
void expect_same_times(const LatencyProfile& fitted, double share) {
  const LatencyProfile& real = llama().engine.timing;
  for (const int tokens : {1000, 3000, 5000}) {
    PrefillWork work;
    work.add(Tokens(0), Tokens(tokens));
    expect_near(to_ms(fitted.prefill(work)), to_ms(real.prefill(work)), share);
  }
  for (const int batch : {1, 4}) {
    const DecodeWork work{batch, Tokens(batch * 3000), 0};
    expect_near(to_ms(fitted.decode(work)), to_ms(real.decode(work)), share);
  }
}

TEST(ProfileFitTest, FindsTheProfileOfOnePodAgain) {
  const auto fit = fit_profile(
      {result_of(study_of("both=1", 0.5, 3000, 0.9)), result_of(study_of("both=1", 5, 3000, 0.9))},
      llama(), "again");
  ASSERT_TRUE(fit) << fit.error().message;
  expect_same_times(fit->profile.engine.timing, 0.02);
  EXPECT_LT(fit->prefill.median_error, 0.01);
  EXPECT_LT(fit->step.median_error, 0.01);
  EXPECT_EQ(fit->profile.name, "again");
  EXPECT_THAT(fit->profile.source, HasSubstr("fitted from result.json, result.json: "));
  EXPECT_EQ(fit->profile.engine.blocks, llama().engine.blocks);
  EXPECT_THAT(render_profile_fit(*fit), HasSubstr("prefill_token_us"));
}

TEST(ProfileFitTest, FindsTheProfileOfSplitPodsAgain) {
  const auto fit =
      fit_profile({result_of(study_of("prefill=2,decode=2", 3, 3000, 0.9))}, llama(), "again");
  ASSERT_TRUE(fit) << fit.error().message;
  expect_same_times(fit->profile.engine.timing, 0.05);
}

TEST(ProfileFitTest, SaysWhatPromptsOfOneLengthDoNotTell) {
  const auto fit = fit_profile({result_of(study_of("both=1", 0.5, 3000, 0))}, llama(), "again");
  ASSERT_TRUE(fit) << fit.error().message;
  EXPECT_FALSE(fit->prefill.told[0]);
  EXPECT_TRUE(fit->prefill.told[1]);
  EXPECT_FALSE(fit->prefill.told[2]);
  EXPECT_EQ(fit->profile.engine.timing.prefill_base_s, 0.0);
  EXPECT_THAT(fit->profile.source,
              HasSubstr("not told by these: prefill_base_ms, prefill_pair_ns"));
  EXPECT_THAT(render_profile_fit(*fit), HasSubstr("not told by these results"));
  PrefillWork work;
  work.add(Tokens(0), Tokens(3000));
  expect_near(to_ms(fit->profile.engine.timing.prefill(work)),
              to_ms(llama().engine.timing.prefill(work)), 0.02);
}

TEST(ProfileFitTest, IsReadBackAsAProfile) {
  const auto fit = fit_profile({result_of(study_of("both=1", 1, 3000, 0.9))}, llama(), "again");
  ASSERT_TRUE(fit) << fit.error().message;
  const nlohmann::json json = nlohmann::json::parse(profile_json(fit->profile));
  EXPECT_EQ(json.at("source"), fit->profile.source);
  EXPECT_GT(json.at("step_base_ms").get<double>(), 0.0);
}

// A tenth of the rows take three times as long, as where something else ran beside them.
TEST(RobustFitTest, LeavesOutliersOut) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> noise(1, 0.03);
  std::vector<FitRow> rows;
  for (int i = 0; i < 300; ++i) {
    const double tokens = 100.0 + 20 * i;
    const double value = (2 + 0.03 * tokens + 1e-6 * tokens * tokens) * noise(random);
    rows.push_back({{1, tokens, tokens * tokens}, i % 10 == 0 ? 3 * value : value});
  }
  const RobustFit fit = fit_robustly(rows, {2, 0, 1});
  for (const double tokens : {200.0, 1000.0, 5000.0}) {
    const double real = 2 + 0.03 * tokens + 1e-6 * tokens * tokens;
    const double fitted =
        fit.coefficients[0] + fit.coefficients[1] * tokens + fit.coefficients[2] * tokens * tokens;
    expect_near(fitted, real, 0.05);
  }
  EXPECT_NEAR(fit.median_error, 0.02, 0.02);
}

TEST(RobustFitTest, HasNoNegativeCoefficient) {
  std::vector<FitRow> rows;
  for (int i = 1; i <= 50; ++i) {
    const double x = i;
    rows.push_back({{1, x, x * x}, 100 - x});  // falls
  }
  for (const double one : fit_robustly(rows, {2, 0, 1}).coefficients) EXPECT_GE(one, 0.0);
}

// The third term is three times the second: only their sum is told, whatever the first is.
TEST(RobustFitTest, DropsWhatIsMadeUpOfOthers) {
  std::vector<FitRow> rows;
  for (int i = 1; i <= 50; ++i) {
    const double x = i;
    rows.push_back({{1, x, 3 * x}, 5 + 2 * x});
  }
  const RobustFit fit = fit_robustly(rows, {0, 2, 1});
  EXPECT_TRUE(fit.told[0]);
  EXPECT_TRUE(fit.told[1]);
  EXPECT_FALSE(fit.told[2]);
  EXPECT_NEAR(fit.coefficients[0], 5, 1e-3);
  EXPECT_NEAR(fit.coefficients[1], 2, 1e-3);
  EXPECT_EQ(fit.coefficients[2], 0.0);
}

std::string profile_problem_of(const nlohmann::ordered_json& json) {
  const auto fit = fit_profile({{"x.json", json}}, llama(), "n");
  return fit ? "" : fit.error().message;
}

TEST(ProfileFitTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(profile_problem_of(nlohmann::ordered_json::array()),
              HasSubstr("x.json: is no result"));
  EXPECT_THAT(profile_problem_of({{"blocks", 4}}),
              HasSubstr("x.json: is no result of baton bench"));
  EXPECT_THAT(profile_problem_of({{"mean_ttft_ms", 4}}), HasSubstr("x.json: has no input_lens"));
  EXPECT_THAT(profile_problem_of({{"mean_ttft_ms", 4}}), HasSubstr("--save-detailed"));
  nlohmann::ordered_json run = {{"mean_ttft_ms", 4}, {"input_lens", {1, 2}}, {"output_lens", {2}},
                                {"ttfts", {0.1}},    {"itls", {{0.1}}},      {"start_times", {0}}};
  EXPECT_THAT(profile_problem_of(run),
              HasSubstr("x.json: output_lens has 1 entries, input_lens has 2"));
  run["input_lens"] = {1};
  EXPECT_THAT(profile_problem_of(run), HasSubstr("1 prompts of these results were computed"));
  run["itls"] = {{"soon"}};
  EXPECT_THAT(profile_problem_of(run), HasSubstr("x.json: itls[0]: must be a list of times"));
  run["itls"] = nlohmann::ordered_json::array({nlohmann::ordered_json::array({0.1})});
  run["ttfts"] = {-1};
  EXPECT_THAT(profile_problem_of(run), HasSubstr("x.json: ttfts[0]: must be a number from 0"));
}

TEST(ProfileFitTest, SaysWhatToMeasureWherePromptsAreNeverAlone) {
  EXPECT_THAT(
      fit_profile({result_of(study_of("both=1", 60, 3000, 0))}, llama(), "n").error().message,
      HasSubstr("--concurrency 1"));
}

}  // namespace
}  // namespace baton::orchestrator::simulate
