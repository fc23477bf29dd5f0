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

// Two streams and a refusal over two seconds:
//   0: due 0, sent 0, TTFT 100, gaps 10 20, E2EL 130
//   1: due 1000, sent 1005, TTFT 300, gaps 30 30 30, E2EL 390, to 1395
//   2: 429 at 1999, to 2000
std::vector<RequestRecord> three_requests() {
  return {completed({.index = 0, .gaps_ms = {10, 20}}),
          completed({.index = 1,
                     .scheduled_ms = 1000,
                     .lag_ms = 5,
                     .ttft_ms = 300,
                     .gaps_ms = {30, 30, 30},
                     .prompt_tokens = 20}),
          failed(2, 1999, Outcome::kRejected, 429, "429 queue_full")};
}

Json summary_of(std::vector<RequestRecord> records, const SummaryOptions& options = options_of()) {
  return summarize(run_of(std::move(records)), options);
}

std::vector<std::string> keys_of(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

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

RequestRecord split_request(std::size_t index) {
  RequestRecord record = completed({.index = index, .ttft_ms = 100, .prompt_tokens = 40});
  record.cached_tokens = 10;
  record.stages = StageTimes{.plan_ms = 1,
                             .prefill_queue_ms = 9,
                             .prefill_ms = 60,
                             .decode_queue_ms = 50,
                             .exposed_transfer_ms = 10,
                             .first_step_ms = 5,
                             .kv_bytes = 1000,
                             .retries = 1,
                             .transport = "shm",
                             .prefill_pod = "p0",
                             .decode_pod = "d0"};
  return record;
}

RequestRecord whole_request(std::size_t index) {
  RequestRecord record = completed({.index = index, .ttft_ms = 80, .prompt_tokens = 60});
  StageTimes& stages = record.stages.emplace();
  stages.plan_ms = 1;
  stages.prefill_ms = 40;
  stages.decode_queue_ms = 20;
  stages.first_step_ms = 4;
  stages.decode_pod = "d1";
  return record;
}

TEST(Split, IsAbsentWithoutARouter) {
  EXPECT_FALSE(summary_of(three_requests())["baton"].contains("split"));
}

TEST(Split, AddsUpToTheTtft) {
  const Json split = summary_of({split_request(0), whole_request(1)})["baton"]["split"];
  EXPECT_EQ(split["requests"], 2);
  double sum = 0;
  for (const auto& [stage, figures] : split["stages_ms"].items()) {
    sum += figures["mean"].get<double>();
  }
  EXPECT_NEAR(sum, 90, 1e-9);
  EXPECT_DOUBLE_EQ(split["mean_ttft_ms"], 90);
  EXPECT_EQ(keys_of(split["stages_ms"]),
            (std::vector<std::string>{"plan", "prefill_queue", "prefill", "decode_queue",
                                      "exposed_transfer", "first_step", "other"}));
  EXPECT_DOUBLE_EQ(split["stages_ms"]["other"]["mean"], 15);
}

TEST(Split, KeepsAQueueThatRunsBesideThePrefillOutOfTheSum) {
  const Json split = summary_of({split_request(0)})["baton"]["split"];
  EXPECT_DOUBLE_EQ(split["stages_ms"]["decode_queue"]["mean"], 0);
  EXPECT_DOUBLE_EQ(split["concurrent_ms"]["decode_queue"]["mean"], 50);
  const Json whole = summary_of({whole_request(0)})["baton"]["split"];
  EXPECT_DOUBLE_EQ(whole["stages_ms"]["decode_queue"]["mean"], 20);
  EXPECT_TRUE(whole["concurrent_ms"]["decode_queue"].is_null());
}

TEST(Split, IsSavedRequestByRequest) {
  SummaryOptions options = options_of();
  options.detailed = true;
  const Json requests = summary_of({split_request(0), whole_request(1), completed({.index = 2})},
                                   options)["baton"]["requests"];
  EXPECT_EQ(requests["prefill_pods"], Json({"p0", "", ""}));
  EXPECT_EQ(requests["decode_pods"], Json({"d0", "d1", ""}));
  EXPECT_EQ(requests["prefill_times"], Json({0.06, 0.04, 0.0}));
  EXPECT_EQ(requests["first_step_times"], Json({0.005, 0.004, 0.0}));
  EXPECT_EQ(requests["cached_lens"].size(), 3U);
}

TEST(Split, CountsWhatMoved) {
  const Json split =
      summary_of({split_request(0), split_request(1), whole_request(2)})["baton"]["split"];
  EXPECT_EQ(split["kv_bytes"], (Json{{"total", 2000}, {"mean", 1000.0}}));
  EXPECT_EQ(split["transports"], (Json{{"shm", 2}}));
  EXPECT_EQ(split["prefill_pods"], (Json{{"p0", 2}}));
  EXPECT_EQ(split["decode_pods"], (Json{{"d0", 2}, {"d1", 1}}));
  EXPECT_EQ(split["decode_only"], 1);
  EXPECT_EQ(split["cached_tokens"]["total"], 20);
  EXPECT_DOUBLE_EQ(split["cached_tokens"]["share_of_input"], 20.0 / 140);
  EXPECT_EQ(split["retries"], 2);
}

TEST(Split, OfAnswersThatAreNoStreamsHasNoStages) {
  RequestRecord record = split_request(0);
  record.streamed = false;
  const Json split = summary_of({record})["baton"]["split"];
  EXPECT_EQ(split["requests"], 1);
  EXPECT_TRUE(split["stages_ms"].empty());
}

Json repeat_with(double ttft) {
  return summary_of({completed({.ttft_ms = ttft, .gaps_ms = {10}})});
}

TEST(Repeats, ShowTheMiddleOneAndTheMeansWithTheirIntervals) {
  const Json summary = summarize_repeats({repeat_with(300), repeat_with(100), repeat_with(260)});
  EXPECT_DOUBLE_EQ(summary["median_ttft_ms"], 260);
  const Json& interval = summary["baton"]["intervals"]["median_ttft_ms"];
  EXPECT_DOUBLE_EQ(interval["mean"], 220);
  EXPECT_EQ(interval["repeats"], 3);
  const double reach = 4.302652729911275 * std::sqrt((6400 + 14400 + 1600) / 2.0 / 3);
  EXPECT_NEAR(interval["low"].get<double>(), 220 - reach, 1e-6);
  EXPECT_NEAR(interval["high"].get<double>(), 220 + reach, 1e-6);
  ASSERT_EQ(summary["baton"]["repeats"].size(), 3U);
  EXPECT_EQ(summary["baton"]["repeats"][1]["median_ttft_ms"], 100);
  EXPECT_TRUE(summary["baton"]["intervals"].contains("output_throughput"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("std_ttft_ms"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("num_prompts"));
}

TEST(Repeats, OfOneRunIsThatRun) {
  EXPECT_EQ(summarize_repeats({repeat_with(100)}), repeat_with(100));
  EXPECT_TRUE(summarize_repeats({}).empty());
}

TEST(Repeats, LeaveOutWhatNoRequestHad) {
  const Json one_token = summary_of({completed({})});
  const Json summary = summarize_repeats({one_token, one_token});
  EXPECT_TRUE(summary["baton"]["intervals"].contains("mean_ttft_ms"));
  EXPECT_FALSE(summary["baton"]["intervals"].contains("mean_tpot_ms"));
}

TEST(Repeats, AreUnsoundAndPartialWhereOneIs) {
  Json bad = repeat_with(100);
  bad["baton"]["sound"] = false;
  bad["baton"]["unsound_reasons"] = {"it was late"};
  bad["baton"]["partial"] = true;
  const Json summary = summarize_repeats({repeat_with(200), bad, repeat_with(300)});
  EXPECT_EQ(summary["baton"]["sound"], false);
  EXPECT_EQ(summary["baton"]["partial"], true);
  EXPECT_EQ(summary["baton"]["unsound_reasons"], Json({"repeat 2: it was late"}));
}

std::vector<std::string> lines_of(const std::string& csv) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = csv.find("\r\n"); end != std::string::npos;
       end = csv.find("\r\n", begin)) {
    lines.push_back(csv.substr(begin, end - begin));
    begin = end + 2;
  }
  EXPECT_EQ(begin, csv.size()) << "the last line has no end";
  return lines;
}

TEST(Csv, HasALinePerRequestUnderOneHeader) {
  auto records = three_requests();
  records[0].text = "secret";
  const auto lines = lines_of(records_csv(records));
  ASSERT_EQ(lines.size(), 4U);
  const auto commas = std::ranges::count(lines[0], ',');
  for (const std::string& line : lines) EXPECT_EQ(std::ranges::count(line, ','), commas) << line;
  EXPECT_THAT(lines[1], testing::StartsWith("0,completed,200,,0.000,0.000,100.000,100.000,130.000,"
                                            "130.000,100.000,15.000,130.000,100.000,130.000,20.000,"
                                            "3,10,3,"));
  EXPECT_THAT(lines[3], testing::StartsWith("2,rejected,429,429 queue_full,1999.000,1999.000,,,,"));
  EXPECT_THAT(lines[1], testing::Not(testing::HasSubstr("secret")));
}

TEST(Csv, QuotesAsTheRfcSays) {
  auto records = three_requests();
  records[2].reason = "says \"no\", twice";
  const auto lines = lines_of(records_csv(records));
  EXPECT_THAT(lines[3], testing::HasSubstr(R"(,"says ""no"", twice",)"));
}

TEST(Csv, TellsTheStages) {
  const auto lines = lines_of(records_csv({split_request(0)}));
  EXPECT_THAT(lines[1],
              testing::EndsWith("1.000,9.000,60.000,50.000,10.000,5.000,1000,1,shm,p0,d0,"));
}

}  // namespace
}  // namespace baton::orchestrator::bench
