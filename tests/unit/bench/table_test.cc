#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "orchestrator/bench/results/summary.h"
#include "orchestrator/bench/results/terminal_text.h"
#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(std::ranges::count_if(
      line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void expect_fits(const std::string& text) {
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    EXPECT_LE(columns(line), kTerminalColumns) << line;
    begin = end + 1;
  }
  EXPECT_EQ(begin, text.size()) << "the last line has no end";
}

StageTimes stages_of(double ttft) {
  StageTimes stages;
  stages.plan_ms = 0.05;
  stages.prefill_queue_ms = ttft * 0.1;
  stages.prefill_ms = ttft * 0.6;
  stages.decode_queue_ms = 3;
  stages.exposed_transfer_ms = ttft * 0.05;
  stages.first_step_ms = ttft * 0.1;
  stages.kv_bytes = 3 << 20;
  stages.transport = "shm";
  stages.prefill_pod = "prefill-0";
  stages.decode_pod = "decode-0";
  return stages;
}

// 600 requests at 10/s of a router, some of them refused.
RunResult busy_run() {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> ttft(4, 0.4);
  std::vector<RequestRecord> records;
  for (std::size_t i = 0; i < 600; ++i) {
    const double at = static_cast<double>(i) * 100;
    if (i % 100 == 99) {
      records.push_back(failed(i, at, Outcome::kRejected, 429, "429 queue_full"));
      continue;
    }
    const double first = ttft(random);
    records.push_back(completed({.index = i,
                                 .scheduled_ms = at,
                                 .lag_ms = 0.2,
                                 .ttft_ms = first,
                                 .gaps_ms = std::vector<double>(127, 8 + first / 50),
                                 .prompt_tokens = 512}));
    records.back().stages = stages_of(first);
  }
  records.push_back(failed(600, 60000, Outcome::kCutStream, 200, "ended without [DONE]"));
  return run_of(std::move(records));
}

TEST(Table, ShowsARunWithItsDefinitions) {
  const std::string table =
      render_table(summarize(busy_run(), options_of({.ttft_ms = 80, .tpot_ms = 10})));
  for (const char* part :
       {"http://127.0.0.1:1/v1, model tiny", "10 requests/s, Poisson", "594 completed, 7 failed",
        "rejected      429 queue_full", "sent to first non-empty token", "gaps between events",
        "kept ttft <= 80 ms, tpot <= 10 ms", "TTFT split", "exposed transfer", "over shm 594",
        "prefill prefill-0 594", "beside the prefill: decode queue 3.00 ms",
        "the generator was not the bottleneck"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
  EXPECT_THAT(table, Not(HasSubstr("repeats")));
  expect_fits(table);
}

TEST(Table, ColorsOnlyWhereAskedTo) {
  const std::string table = render_table(summarize(busy_run(), options_of()), true);
  EXPECT_THAT(table, HasSubstr("\x1b[1m"));
  EXPECT_THAT(table, Not(HasSubstr("goodput")));
}

TEST(Table, SaysWhyARunIsUnsound) {
  RunResult run = busy_run();
  run.generator.cpu_seconds = 4.9;
  run.generator.loop_lag_max_ms = 80;
  run.stopped_early = true;
  const std::string table = render_table(summarize(run, options_of()));
  EXPECT_THAT(table, HasSubstr("UNSOUND    because the generator stood still for 80 ms"));
  EXPECT_THAT(table, HasSubstr("the generator used 98 % of its"));
  EXPECT_THAT(table, HasSubstr("PARTIAL"));
  expect_fits(table);
}

TEST(Table, ShowsIntervalsOfRepeats) {
  const Json run = summarize(busy_run(), options_of());
  Json faster = run;
  faster["mean_ttft_ms"] = 1;
  const std::string table = render_table(summarize_repeats({run, faster, run}));
  EXPECT_THAT(table, HasSubstr("repeats    3; means"));
  EXPECT_THAT(table, HasSubstr("mean_ttft_ms"));
  expect_fits(table);
}

TEST(Table, OfARunWithoutStreamsShowsNoZeros) {
  RequestRecord record = completed({.ttft_ms = 400});
  record.streamed = false;
  const std::string table = render_table(summarize(run_of({record}), options_of()));
  EXPECT_THAT(table, HasSubstr("TTFT                 -          -          -          -"));
  EXPECT_THAT(table, HasSubstr("a p99 is little more than the worst"));
  expect_fits(table);
}

TEST(Table, OfNothingFits) {
  SummaryOptions options = options_of({.ttft_ms = 1});
  options.workload.clear();
  expect_fits(render_table(summarize(run_of({}), options)));
}

TEST(Table, LetsNoServersReasonIntoTheTerminal) {
  std::vector<RequestRecord> records = {
      failed(0, 0, Outcome::kHttpError, 500, "500 \x1b[2J\n" + std::string(200, 'x'))};
  SummaryOptions options = options_of();
  options.workload = std::string(300, 'w') + " ü\x1b";
  const std::string table = render_table(summarize(run_of(records), options));
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
  EXPECT_THAT(table, HasSubstr("500 ?[2J?xxx"));
  expect_fits(table);
}

TEST(TerminalText, ClipsBetweenCharacters) {
  EXPECT_EQ(clip("abc", 3), "abc");
  EXPECT_EQ(clip("abcd", 3), "ab…");
  EXPECT_EQ(clip("üüüü", 3), "üü…");
  EXPECT_EQ(clip("a\tb", 3), "a?b");
}

TEST(TerminalText, CountsInWords) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(1234567), "1,234,567");
  EXPECT_EQ(with_commas(-1234), "-1,234");
  EXPECT_EQ(with_commas(-123), "-123");
  EXPECT_EQ(bytes_text(1000), "1000 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
}

TEST(TerminalText, DrawsBarsInEighths) {
  EXPECT_EQ(bar(0, 10), "");
  EXPECT_EQ(bar(1, 2), "██");
  EXPECT_EQ(bar(2, 2), "██");
  EXPECT_EQ(bar(-1, 2), "");
  EXPECT_EQ(bar(9.0 / 16, 2), "█▏");
}

}  // namespace
}  // namespace baton::orchestrator::bench
