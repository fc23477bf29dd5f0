#include "orchestrator/bench/results/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Slo, IsReadAsVllmWritesIt) {
  const auto slo = parse_slo("ttft:500 tpot:50.5,e2el:5000");
  ASSERT_TRUE(slo) << slo.error().message;
  EXPECT_EQ(slo->ttft_ms, 500);
  EXPECT_EQ(slo->tpot_ms, 50.5);
  EXPECT_EQ(slo->e2el_ms, 5000);
  EXPECT_EQ(parse_slo(" tpot:0 ")->tpot_ms, 0);
  EXPECT_FALSE(parse_slo("tpot:1")->ttft_ms);
}

TEST(Slo, SaysWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "names no bound"},           {"ttft", "no colon"},      {"itl:5", "unknown name"},
      {"ttft:5 ttft:6", "named twice"}, {"ttft:", "no number"},    {"ttft:5ms", "no number"},
      {"ttft:-1", "no number"},         {"ttft:inf", "no number"}, {"ttft:nan", "no number"}};
  for (const auto& [text, why] : cases) {
    const auto slo = parse_slo(text);
    ASSERT_FALSE(slo) << text;
    EXPECT_EQ(slo.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(slo.error().message, testing::HasSubstr(why)) << text;
  }
}

// What vLLM 0.32's benchmark() and main_async() put into a result file of a generation run, in
// their order, without what only some servers or options give (rtfx is of speech).
TEST(Summary, HasVllmsKeysInVllmsOrder) {
  std::vector<std::string> keys = {"date",
                                   "endpoint_type",
                                   "backend",
                                   "label",
                                   "model_id",
                                   "tokenizer_id",
                                   "num_prompts",
                                   "request_rate",
                                   "burstiness",
                                   "max_concurrency",
                                   "duration",
                                   "completed",
                                   "failed",
                                   "total_input_tokens",
                                   "total_output_tokens",
                                   "request_throughput",
                                   "request_goodput",
                                   "output_throughput",
                                   "total_token_throughput",
                                   "input_lens",
                                   "output_lens",
                                   "ttfts",
                                   "itls",
                                   "start_times",
                                   "generated_texts",
                                   "errors",
                                   "max_output_tokens_per_s",
                                   "max_concurrent_requests"};
  for (const std::string metric : {"ttft", "tpot", "itl", "e2el"}) {
    for (const std::string figure : {"mean", "median", "std", "p50", "p99", "p99.9"}) {
      keys.push_back(figure + "_" + metric + "_ms");
    }
  }
  keys.emplace_back("baton");
  SummaryOptions options = options_of();
  options.percentiles = {50, 99, 99.9};
  options.detailed = true;
  EXPECT_EQ(keys_of(summary_of(three_requests(), options)), keys);
}

TEST(Summary, SaysWhatWasRun) {
  SummaryOptions options = options_of();
  options.metadata = {{"gpu", "none"}};
  const Json summary = summary_of(three_requests(), options);
  EXPECT_EQ(summary["date"], "20250131-080910");
  EXPECT_EQ(summary["backend"], "openai-chat");
  EXPECT_EQ(summary["endpoint_type"], "openai-chat");
  EXPECT_TRUE(summary["label"].is_null());
  EXPECT_EQ(summary["num_prompts"], 3);
  EXPECT_EQ(summary["gpu"], "none");
  EXPECT_EQ(summary["request_rate"], 10);
  EXPECT_EQ(summary["burstiness"], 1);
  EXPECT_TRUE(summary["max_concurrency"].is_null());
  const Json& baton = summary["baton"];
  EXPECT_EQ(baton["version"], "1.2.3");
  EXPECT_EQ(baton["seed"], 7);
  EXPECT_EQ(baton["target"], "http://127.0.0.1:1/v1");
  EXPECT_EQ(baton["prompt_source"], "server /tokenize");
}

TEST(Summary, WritesInfinityAsVllmDoes) {
  SummaryOptions options = options_of();
  options.request_rate = kInfinity;
  options.burstiness = kInfinity;
  options.max_concurrency = 4;
  const Json summary = summary_of(three_requests(), options);
  EXPECT_EQ(summary["request_rate"], "inf");
  EXPECT_EQ(summary["burstiness"], "inf");
  EXPECT_EQ(summary["max_concurrency"], 4);
}

TEST(Summary, TellsARampInVllmsKeys) {
  SummaryOptions options = options_of();
  options.request_rate = kInfinity;
  options.ramp = Ramp{.from_rate = 1, .to_rate = 8, .exponential = true};
  const Json summary = summary_of(three_requests(), options);
  EXPECT_EQ(summary["ramp_up_strategy"], "exponential");
  EXPECT_EQ(summary["ramp_up_start_rps"], 1);
  EXPECT_EQ(summary["ramp_up_end_rps"], 8);
  EXPECT_FALSE(summary_of(three_requests()).contains("ramp_up_strategy"));
}

TEST(Summary, IsJsonWhateverBytesAServerSent) {
  auto records = three_requests();
  records[0].text = "half a character \xC3";
  records[1].model = "\xFF";
  records[2].reason = "500 \xE2\x82";
  SummaryOptions options = options_of();
  options.detailed = true;
  options.workload = "file \xFE";
  const Json summary = summary_of(records, options);
  EXPECT_THAT(summary.dump(), testing::HasSubstr("half a character \uFFFD"));
  EXPECT_EQ(summary["errors"][2], "500 \uFFFD\uFFFD");
}

TEST(Summary, CountsTokensAndRates) {
  const Json summary = summary_of(three_requests());
  EXPECT_DOUBLE_EQ(summary["duration"], 2.0);
  EXPECT_EQ(summary["completed"], 2);
  EXPECT_EQ(summary["failed"], 1);
  EXPECT_EQ(summary["total_input_tokens"], 30);
  EXPECT_EQ(summary["total_output_tokens"], 7);
  EXPECT_DOUBLE_EQ(summary["request_throughput"], 1.0);
  EXPECT_DOUBLE_EQ(summary["output_throughput"], 3.5);
  EXPECT_DOUBLE_EQ(summary["total_token_throughput"], 18.5);
  EXPECT_TRUE(summary["request_goodput"].is_null());
  EXPECT_EQ(summary["max_output_tokens_per_s"], 4);
  EXPECT_EQ(summary["max_concurrent_requests"], 1);
}

TEST(Summary, ComputesLatenciesFromTheSend) {
  const Json summary = summary_of(three_requests());
  EXPECT_DOUBLE_EQ(summary["mean_ttft_ms"], 200);
  EXPECT_DOUBLE_EQ(summary["median_ttft_ms"], 200);
  EXPECT_DOUBLE_EQ(summary["std_ttft_ms"], 100);
  EXPECT_DOUBLE_EQ(summary["p90_ttft_ms"], 280);
  EXPECT_DOUBLE_EQ(summary["mean_tpot_ms"], (15 + 30) / 2.0);
  EXPECT_DOUBLE_EQ(summary["mean_itl_ms"], 24);
  EXPECT_DOUBLE_EQ(summary["median_itl_ms"], 30);
  EXPECT_DOUBLE_EQ(summary["mean_e2el_ms"], 260);
}

TEST(Summary, ComputesLatenciesFromTheScheduleBesideThem) {
  const Json baton = summary_of(three_requests())["baton"];
  EXPECT_DOUBLE_EQ(baton["from_schedule"]["ttft"]["mean"], 202.5);
  EXPECT_DOUBLE_EQ(baton["from_schedule"]["e2el"]["median"], 262.5);
  EXPECT_DOUBLE_EQ(baton["cdf"]["ttft_from_schedule"][100], 305);
}

TEST(Summary, LeavesOneTokenAnswersOutOfTpot) {
  const Json summary =
      summary_of({completed({.index = 0}), completed({.index = 1, .gaps_ms = {8}})});
  EXPECT_DOUBLE_EQ(summary["mean_tpot_ms"], 8);
  EXPECT_TRUE(summary["baton"]["unmeasured"].empty());
}

TEST(Summary, DividesByTheServersCountOfTokens) {
  RequestRecord record = completed({.gaps_ms = {30, 30}});
  record.output_tokens = 7;  // events of several tokens
  const Json summary = summary_of({record});
  EXPECT_DOUBLE_EQ(summary["mean_tpot_ms"], 10);
  EXPECT_DOUBLE_EQ(summary["mean_itl_ms"], 30);
  EXPECT_DOUBLE_EQ(summary["max_output_tokens_per_s"], 7);
  EXPECT_NEAR(summary["baton"]["usage"]["tokens_per_event"].get<double>(), 7.0 / 3, 1e-12);
}

TEST(Summary, TakesNoTtftFromAnAnswerThatIsNoStream) {
  RequestRecord record = completed({.ttft_ms = 400});
  record.streamed = false;
  record.output_tokens = 5;
  const Json summary = summary_of({record});
  EXPECT_DOUBLE_EQ(summary["mean_e2el_ms"], 400);
  EXPECT_DOUBLE_EQ(summary["mean_ttft_ms"], 0);
  EXPECT_EQ(summary["baton"]["unmeasured"], Json({"ttft", "tpot", "itl"}));
  EXPECT_TRUE(summary["baton"]["from_schedule"]["ttft"].is_null());
  EXPECT_TRUE(summary["baton"]["cdf"]["ttft"].empty());
  EXPECT_EQ(summary["baton"]["cdf"]["e2el"].size(), 101U);
  EXPECT_DOUBLE_EQ(summary["max_output_tokens_per_s"], 5);
}

TEST(Summary, OfNothingIsStillAFile) {
  const Json summary = summary_of({});
  EXPECT_EQ(summary["completed"], 0);
  EXPECT_DOUBLE_EQ(summary["duration"], 0);
  EXPECT_DOUBLE_EQ(summary["request_throughput"], 0);
  EXPECT_EQ(summary["baton"]["unmeasured"].size(), 4U);
  EXPECT_TRUE(summary["baton"]["timeline"].empty());
  EXPECT_FALSE(summary.dump().empty());
}

TEST(Summary, SavesDetailsInSeconds) {
  SummaryOptions options = options_of();
  options.detailed = true;
  auto records = three_requests();
  records[0].text = "abc";
  const Json summary = summary_of(records, options);
  EXPECT_EQ(summary["input_lens"], Json({10, 20, 0}));
  EXPECT_EQ(summary["output_lens"], Json({3, 4, 0}));
  EXPECT_EQ(summary["ttfts"], Json({0.1, 0.3, 0.0}));
  EXPECT_EQ(summary["itls"], (Json{{0.01, 0.02}, {0.03, 0.03, 0.03}, Json::array()}));
  EXPECT_EQ(summary["start_times"], Json({0.0, 1.005, 1.999}));
  EXPECT_EQ(summary["generated_texts"], Json({"abc", "", ""}));
  EXPECT_EQ(summary["errors"], Json({"", "", "429 queue_full"}));
  EXPECT_FALSE(summary_of(records).contains("ttfts"));
  EXPECT_FALSE(summary_of(records)["baton"].contains("requests"));
}

TEST(Summary, CountsOnlyWhatIsDueInTheWindow) {
  SummaryOptions options = options_of();
  options.window = {ms(1000), ms(1999)};
  const Json summary = summary_of(three_requests(), options);
  EXPECT_EQ(summary["num_prompts"], 1);
  EXPECT_EQ(summary["completed"], 1);
  EXPECT_EQ(summary["failed"], 0);
  EXPECT_DOUBLE_EQ(summary["duration"], 0.395);
  EXPECT_DOUBLE_EQ(summary["mean_ttft_ms"], 300);
  EXPECT_EQ(summary["baton"]["timeline"].size(), 3U);
}

// Both bounds are exactly met by request 0 and from the schedule: 305 ms of request 1.
TEST(Goodput, HasInclusiveBoundsFromTheScheduleOverAllOffered) {
  const Json exact = summary_of(three_requests(), options_of({.ttft_ms = 305, .tpot_ms = 30}));
  EXPECT_DOUBLE_EQ(exact["request_goodput"], 1.0);
  const Json& goodput = exact["baton"]["goodput"];
  EXPECT_EQ(goodput["offered"], 3);
  EXPECT_EQ(goodput["good"], 2);
  EXPECT_DOUBLE_EQ(goodput["share"], 2.0 / 3);
  EXPECT_EQ(goodput["missed"], (Json{{"ttft", 0}, {"tpot", 0}, {"e2el", 0}, {"failed", 1}}));
  EXPECT_EQ(goodput["slo"], (Json{{"ttft_ms", 305}, {"tpot_ms", 30}, {"e2el_ms", nullptr}}));

  const Json below = summary_of(three_requests(), options_of({.ttft_ms = 304.9, .tpot_ms = 29.9}));
  EXPECT_DOUBLE_EQ(below["request_goodput"], 0.5);
  EXPECT_EQ(below["baton"]["goodput"]["missed"],
            (Json{{"ttft", 1}, {"tpot", 1}, {"e2el", 0}, {"failed", 1}}));
}

TEST(Goodput, HoldsOneTokenAnswersGoodOnTpot) {
  const Json summary = summary_of({completed({})}, options_of({.tpot_ms = 0}));
  EXPECT_EQ(summary["baton"]["goodput"]["good"], 1);
}

TEST(Goodput, LetsTheFirstTokenOfAWholeAnswerComeWithItsEnd) {
  RequestRecord record = completed({.ttft_ms = 400});
  record.streamed = false;
  EXPECT_EQ(summary_of({record}, options_of({.ttft_ms = 399}))["baton"]["goodput"]["good"], 0);
  EXPECT_EQ(summary_of({record}, options_of({.ttft_ms = 400}))["baton"]["goodput"]["good"], 1);
}

TEST(Goodput, NeitherOffersNorMissesWhatTheHarnessEnded) {
  std::vector<RequestRecord> records = three_requests();
  records.push_back(failed(3, 100, Outcome::kLeft, 200, ""));
  records.push_back(failed(4, 100, Outcome::kUnfinished, 0, ""));
  const Json summary = summary_of(records, options_of({.ttft_ms = 1000}));
  EXPECT_EQ(summary["baton"]["goodput"]["offered"], 3);
  EXPECT_EQ(summary["num_prompts"], 5);
  EXPECT_EQ(summary["failed"], 1);
  EXPECT_EQ(summary["baton"]["outcomes"],
            (Json{{"completed", 2}, {"rejected", 1}, {"left", 1}, {"unfinished", 1}}));
  EXPECT_EQ(summary["baton"]["partial"], true);
}

TEST(Goodput, CountsEveryKindOfFailureAsOfferedAndNotGood) {
  for (const Outcome outcome :
       {Outcome::kRejected, Outcome::kHttpError, Outcome::kUnreachable, Outcome::kTimeout,
        Outcome::kNotOpenAi, Outcome::kStreamError, Outcome::kCutStream, Outcome::kNoTokens}) {
    const Json summary =
        summary_of({completed({}), failed(1, 0, outcome, 0, "x")}, options_of({.ttft_ms = 1000}));
    EXPECT_DOUBLE_EQ(summary["baton"]["goodput"]["share"], 0.5) << name_of(outcome);
  }
}

TEST(Goodput, CountsRequestsThatCouldNotEvenBeSent) {
  RequestRecord lost = failed(0, 0, Outcome::kUnreachable, 0, "connection refused");
  lost.scheduled = lost.sent = RequestRecord::kNever;
  lost.ended = ms(50);
  const Json summary = summary_of({lost}, options_of({.ttft_ms = 1000}));
  EXPECT_EQ(summary["baton"]["goodput"]["offered"], 1);
  EXPECT_EQ(summary["failed"], 1);
}

TEST(Baton, ListsFailuresByReason) {
  std::vector<RequestRecord> records;
  records.push_back(failed(0, 500, Outcome::kTimeout, 0, "no answer"));
  records.push_back(failed(1, 900, Outcome::kRejected, 503, "503"));
  records.push_back(failed(2, 700, Outcome::kRejected, 503, "503"));
  const Json failures = summary_of(records)["baton"]["failures"];
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures[0], (Json{{"outcome", "rejected"},
                               {"reason", "503"},
                               {"status", 503},
                               {"count", 2},
                               {"first_at_s", 0.701}}));
  EXPECT_EQ(failures[1]["outcome"], "timeout");
}

TEST(Baton, GroupsByModelAndPriorityOnlyWhereTheyDiffer) {
  auto records = three_requests();
  EXPECT_FALSE(summary_of(records)["baton"].contains("by_model"));
  records[1].model = "lora-a";
  records[2].priority = 1;
  const Json baton = summary_of(records)["baton"];
  ASSERT_EQ(baton["by_model"].size(), 2U);
  EXPECT_EQ(baton["by_model"][0]["model"], "lora-a");
  EXPECT_EQ(baton["by_model"][0]["median_ttft_ms"], 300);
  EXPECT_EQ(baton["by_model"][1]["offered"], 2);
  EXPECT_EQ(baton["by_model"][1]["completed"], 1);
  EXPECT_EQ(baton["by_priority"][1]["priority"], 1);
  EXPECT_TRUE(baton["by_priority"][1]["median_ttft_ms"].is_null());
}

TEST(Baton, TellsHowUsageAndPromptsWere) {
  auto records = three_requests();
  records[0].built_tokens = 12;
  records[1].built_tokens = 19;
  records[1].usage_reports = 2;
  const Json baton = summary_of(records)["baton"];
  EXPECT_EQ(baton["prompt_error"], (Json{{"sampled", 2}, {"max_tokens_off", 2}}));
  EXPECT_EQ(baton["usage"]["reported"], 2);
  EXPECT_EQ(baton["usage"]["repeated"], 1);
}

TEST(Baton, HasSteadyRatesOfWhatArrivedInTheWindow) {
  SummaryOptions options = options_of();
  options.window = {ms(100), ms(1100)};
  // Arrivals: 100, 110, 130 of request 0; none of request 1, whose tokens begin at 1305.
  const Json steady = summary_of(three_requests(), options)["baton"]["steady"];
  EXPECT_DOUBLE_EQ(steady["from_s"], 0.1);
  EXPECT_DOUBLE_EQ(steady["to_s"], 1.1);
  EXPECT_DOUBLE_EQ(steady["output_throughput"], 3);
  EXPECT_DOUBLE_EQ(steady["request_throughput"], 1);
}

TEST(Baton, EndsTheSteadyPartWithTheOfferOfLoad) {
  EXPECT_DOUBLE_EQ(summary_of(three_requests())["baton"]["steady"]["to_s"], 1.999);
  const Json at_once = summary_of({completed({.gaps_ms = {400}}), completed({.gaps_ms = {900}})});
  EXPECT_DOUBLE_EQ(at_once["baton"]["steady"]["to_s"], 1.0);
}

TEST(Baton, HasATimelineBySecond) {
  const Json timeline = summary_of(three_requests())["baton"]["timeline"];
  ASSERT_EQ(timeline.size(), 3U);
  EXPECT_EQ(timeline[0]["offered"], 1);
  EXPECT_EQ(timeline[0]["completed"], 1);
  EXPECT_EQ(timeline[0]["output_tokens"], 3);
  EXPECT_NEAR(timeline[0]["running"].get<double>(), 0.13, 1e-9);
  EXPECT_EQ(timeline[0]["median_ttft_ms"], 100);
  EXPECT_EQ(timeline[1]["offered"], 2);
  EXPECT_EQ(timeline[1]["output_tokens"], 4);
  EXPECT_NEAR(timeline[1]["running"].get<double>(), 0.391, 1e-9);
  EXPECT_EQ(timeline[2]["failed"], 1);
  EXPECT_TRUE(timeline[2]["median_ttft_ms"].is_null());
}

TEST(Baton, CountsPeakConcurrencyOverHalfOpenSpans) {
  const Json summary = summary_of({completed({.scheduled_ms = 0}), completed({.scheduled_ms = 100}),
                                   completed({.scheduled_ms = 150})});
  EXPECT_EQ(summary["max_concurrent_requests"], 2);
}

TEST(Soundness, IsOfTheGenerator) {
  const Json baton = summary_of(three_requests())["baton"];
  EXPECT_EQ(baton["sound"], true);
  EXPECT_TRUE(baton["unsound_reasons"].empty());
  EXPECT_DOUBLE_EQ(baton["generator"]["cpu_share"], 0.1);
  EXPECT_NEAR(baton["generator"]["send_lag_ms"]["max"].get<double>(), 0.2, 1e-6);
}

std::vector<std::string> reasons_of(const GeneratorStats& generator,
                                    const SummaryOptions& options = options_of()) {
  RunResult run = run_of(three_requests());  // median TTFT 200 ms: lag limit 2 ms, stall 50 ms
  run.generator = generator;
  return summarize(run, options)["baton"]["unsound_reasons"];
}

TEST(Soundness, EndsWithALateBusyOrStalledGenerator) {
  const GeneratorStats good{{2.0F, 2.0F}, 50, 4.5, 5};
  EXPECT_TRUE(reasons_of(good).empty());
  GeneratorStats late = good;
  late.send_lag_ms = {2.5F, 2.5F};
  EXPECT_THAT(reasons_of(late), testing::ElementsAre(testing::HasSubstr("2.50 ms or more")));
  GeneratorStats stalled = good;
  stalled.loop_lag_max_ms = 51;
  EXPECT_THAT(reasons_of(stalled), testing::ElementsAre(testing::HasSubstr("stood still for 51")));
  GeneratorStats busy = good;
  busy.cpu_seconds = 4.6;
  EXPECT_THAT(reasons_of(busy), testing::ElementsAre(testing::HasSubstr("92 % of its core")));
}

TEST(Soundness, DoesNotBlameAnOpenLoopThatIsHeldBackOnPurpose) {
  SummaryOptions options = options_of();
  options.max_concurrency = 2;
  EXPECT_TRUE(reasons_of({{500.0F}, 1, 1, 5}, options).empty());
}

TEST(Soundness, NeedsNoSendLagInAClosedLoop) {
  RunResult run = run_of(three_requests());
  run.generator.send_lag_ms.clear();
  const Json baton = summarize(run, options_of())["baton"];
  EXPECT_EQ(baton["sound"], true);
  EXPECT_TRUE(baton["generator"]["send_lag_ms"].is_null());
}

}  // namespace
}  // namespace baton::orchestrator::bench
