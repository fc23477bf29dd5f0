#include "orchestrator/bench/generator/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "orchestrator/bench/generator/reference_server.h"

namespace baton::orchestrator::bench {
namespace {

using namespace std::chrono_literals;
using Fault = ReferenceFault;

class Prompts final : public Workload {
 public:
  [[nodiscard]] std::optional<std::size_t> size() const override { return count; }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    if (index == broken) return fail(ErrorCode::kInvalidArgument, Stage::kConfig, "line 4");
    WorkloadRequest request;
    request.turns = {{"user", "reference id=" + std::to_string(index) + " "}};
    request.prompt_tokens = 5;
    request.max_tokens = tokens;
    request.leave_after_tokens = leave_after;
    if (sessions) request.session = static_cast<int>(index) % 2;
    if (index == 1) request.model = "other";
    request.priority = static_cast<int>(index);
    return request;
  }
  void answered(std::size_t index, std::string_view text) override { answers[index] = text; }
  [[nodiscard]] std::optional<std::pair<std::size_t, Duration>> follows(
      std::size_t index) override {
    if (!sessions || index < 2) return std::nullopt;
    return std::pair{index - 2, Duration(1ms)};
  }
  [[nodiscard]] std::string describe() const override { return "prompts"; }

  std::optional<std::size_t> count = 3;
  std::size_t broken = std::size_t(-1);
  int tokens = 4;
  std::optional<int> leave_after;
  bool sessions = false;
  std::map<std::size_t, std::string> answers;
};

class RunnerTest : public testing::Test {
 protected:
  void start_server(ReferenceOptions options = {}) {
    auto server = ReferenceServer::start(std::move(options));
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    target_.port = server_->port();
  }
  RunnerTest() {
    target_.host = "127.0.0.1";
    target_.model = "m";
    options_.concurrency = 2;
  }
  Result<RunResult> run() {
    Runner runner(io_, target_, options_);
    return runner.run(workload_);
  }
  std::vector<RequestRecord> records() {
    auto result = run();
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return {};
    }
    return std::move(result->records);
  }
  // All requests end as `outcome` for `reason`.
  void expect_all(Outcome outcome, std::string_view reason, unsigned status = 200) {
    const std::vector<RequestRecord> got = records();
    EXPECT_EQ(got.size(), 3u);
    for (const RequestRecord& record : got) {
      EXPECT_STREQ(name_of(record.outcome), name_of(outcome));
      EXPECT_EQ(record.reason, reason);
      EXPECT_EQ(record.status, status);
      EXPECT_GE(record.ended, record.sent);
      EXPECT_GE(record.sent, Duration::zero());
    }
  }

  boost::asio::io_context io_{1};
  std::unique_ptr<ReferenceServer> server_;
  Target target_;
  RunOptions options_;
  Prompts workload_;
};

TEST_F(RunnerTest, RecordsStreams) {
  start_server({.timing = {.ttft = 4ms, .gap = 2ms, .role_first = true}});
  const std::vector<RequestRecord> got = records();
  ASSERT_EQ(got.size(), 3u);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const RequestRecord& record = got[i];
    EXPECT_EQ(record.index, i);
    EXPECT_EQ(record.outcome, Outcome::kCompleted);
    EXPECT_EQ(record.scheduled, record.sent);
    EXPECT_LE(record.sent, record.first_event);
    EXPECT_LE(record.first_event, record.first_token);
    EXPECT_GE(record.first_token - record.sent, 4ms);
    EXPECT_GE(record.last_token - record.sent, 10ms);
    EXPECT_GE(record.ended, record.last_token);
    EXPECT_EQ(record.gaps_us.size(), 3u);
    EXPECT_EQ(record.token_events, 4);
    EXPECT_EQ(record.output_tokens, 4);
    EXPECT_EQ(record.asked_tokens, 4);
    EXPECT_EQ(record.built_tokens, 5);
    EXPECT_EQ(record.prompt_tokens, 15);  // "reference id=0 " as the server counts it
    EXPECT_EQ(record.usage_reports, 1);
    EXPECT_EQ(record.model, i == 1 ? "other" : "m");
    EXPECT_EQ(record.priority, static_cast<int>(i));
    EXPECT_TRUE(record.request_id.starts_with("reference-"));
    EXPECT_FALSE(record.stages);
    EXPECT_EQ(record.text, "");
  }
}

TEST_F(RunnerTest, MeasuresWhatTheServerDid) {
  start_server({.timing = {.ttft = 3ms, .gap = 1ms}});
  workload_.count = 20;
  options_.concurrency = 4;
  const std::vector<RequestRecord> got = records();
  for (const ServedTruth& truth : server_->stop()) {
    const auto& record = got.at(static_cast<std::size_t>(truth.id));
    ASSERT_EQ(truth.tokens.size(), static_cast<std::size_t>(record.token_events));
    EXPECT_GE(record.first_token - record.sent, truth.tokens.front() - truth.received);
    EXPECT_GE(record.ended - record.sent, truth.ended - truth.received);
  }
}

TEST_F(RunnerTest, RecordsWholeAnswers) {
  start_server();
  options_.stream = false;
  options_.keep_text = true;
  target_.chat = false;
  for (const RequestRecord& record : records()) {
    EXPECT_EQ(record.outcome, Outcome::kCompleted);
    EXPECT_FALSE(record.streamed);
    EXPECT_EQ(record.first_token, record.ended);
    EXPECT_EQ(record.last_token, record.ended);
    EXPECT_EQ(record.output_tokens, 4);
    EXPECT_EQ(record.text, "aaaa");
  }
}

TEST_F(RunnerTest, SendsAtTheScheduledTimeWhateverBecameOfTheOthers) {
  start_server({.timing = {.ttft = 60ms}});
  options_.concurrency = 0;
  options_.schedule = {0ms, 5ms, 20ms};
  const auto result = run();
  ASSERT_TRUE(result);
  ASSERT_EQ(result->records.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(result->records[i].scheduled, options_.schedule[i]);
    EXPECT_GE(result->records[i].sent, options_.schedule[i]);
  }
  EXPECT_EQ(result->generator.send_lag_ms.size(), 3u);
  EXPECT_GT(result->generator.wall_seconds, 0.08);
  EXPECT_GT(result->generator.cpu_seconds, 0);
  EXPECT_FALSE(result->stopped_early);
  EXPECT_EQ(result->started_at.size(), 20u);
}

TEST_F(RunnerTest, AMaximumOfConcurrencyMakesTheWaitVisible) {
  start_server({.timing = {.ttft = 20ms}});
  options_.concurrency = 1;
  options_.schedule = {0ms, 0ms, 0ms};
  const std::vector<RequestRecord> got = records();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[2].scheduled, 0ms);
  EXPECT_GE(got[2].sent, 40ms);
  EXPECT_GE(got[2].sent, got[1].ended);
}

TEST_F(RunnerTest, AnInfiniteRateSendsAll) {
  start_server();
  workload_.count = std::nullopt;
  options_.concurrency = 0;
  options_.schedule.assign(300, 0ms);
  const std::vector<RequestRecord> got = records();
  EXPECT_EQ(got.size(), 300u);
  EXPECT_TRUE(std::ranges::all_of(got, &RequestRecord::completed));
}

TEST_F(RunnerTest, EndsWithTheWorkloadTheCountOrTheTime) {
  start_server();
  workload_.count = std::nullopt;
  options_.requests = 7;
  EXPECT_EQ(records().size(), 7u);
  workload_.count = 5;
  EXPECT_EQ(records().size(), 5u);
  workload_.count = std::nullopt;
  options_.requests = 0;
  options_.stop_sending_after = 30ms;
  const std::vector<RequestRecord> got = records();
  EXPECT_GE(got.size(), 2u);
  EXPECT_TRUE(std::ranges::all_of(got, &RequestRecord::completed));
}

TEST_F(RunnerTest, TurnsFollowTheAnswersBefore) {
  start_server({.timing = {.ttft = 2ms}});
  workload_.sessions = true;
  workload_.count = 8;
  options_.concurrency = 4;
  const std::vector<RequestRecord> got = records();
  ASSERT_EQ(got.size(), 8u);
  for (std::size_t i = 2; i < got.size(); ++i) {
    EXPECT_GE(got[i].sent, got[i - 2].ended + 1ms);
    EXPECT_EQ(got[i].session, static_cast<int>(i % 2));
    EXPECT_EQ(got[i].text, "");
  }
  EXPECT_EQ(workload_.answers.size(), 8u);
  EXPECT_EQ(workload_.answers[5], "aaaa");
}

TEST_F(RunnerTest, SaysWhyRequestsFailed) {
  struct Case {
    Fault fault;
    Outcome outcome;
    std::string_view reason;
    unsigned status = 200;
  };
  for (const Case& one : {
           Case{Fault::kStatus, Outcome::kRejected, "429 rate_limit_exceeded", 429},
           Case{Fault::kHtml, Outcome::kNotOpenAi, "HTML instead of events"},
           Case{Fault::kOtherJson, Outcome::kNotOpenAi, "event without choices"},
           Case{Fault::kEmptyStream, Outcome::kCutStream, "ended without [DONE]"},
           Case{Fault::kNoDone, Outcome::kCutStream, "ended without [DONE]"},
           Case{Fault::kErrorEvent, Outcome::kStreamError, "error event engine_died"},
           Case{Fault::kCut, Outcome::kCutStream, "connection closed"},
           Case{Fault::kReset, Outcome::kUnreachable, "connection reset", 0},
       }) {
    SCOPED_TRACE(one.reason);
    start_server({.fault = one.fault});
    expect_all(one.outcome, one.reason, one.status);
  }
}

TEST_F(RunnerTest, SaysWhyWholeAnswersFailed) {
  options_.stream = false;
  start_server({.fault = Fault::kHtml});
  expect_all(Outcome::kNotOpenAi, "HTML instead of JSON");
  start_server({.fault = Fault::kOtherJson});
  expect_all(Outcome::kNotOpenAi, "JSON without choices");
  start_server({.fault = Fault::kStatus, .fault_status = 503});
  expect_all(Outcome::kRejected, "503 rate_limit_exceeded", 503);
  start_server({.fault = Fault::kStatus, .fault_status = 500});
  expect_all(Outcome::kHttpError, "500 rate_limit_exceeded", 500);
  target_.base_path = "/v7";
  expect_all(Outcome::kHttpError, "404 not_found", 404);
}

TEST_F(RunnerTest, FailsSomeAndGoesOn) {
  start_server({.fault = Fault::kStatus, .fault_every = 2});
  workload_.count = 10;
  const std::vector<RequestRecord> got = records();
  EXPECT_EQ(std::ranges::count(got, Outcome::kRejected, &RequestRecord::outcome), 5);
  EXPECT_EQ(std::ranges::count(got, Outcome::kCompleted, &RequestRecord::outcome), 5);
}

TEST_F(RunnerTest, CountsUsageThatIsSaidTwice) {
  start_server({.fault = Fault::kUsageTwice});
  for (const RequestRecord& record : records()) {
    EXPECT_EQ(record.outcome, Outcome::kCompleted);
    EXPECT_EQ(record.usage_reports, 2);
    EXPECT_EQ(record.output_tokens, 4);
  }
}

TEST_F(RunnerTest, ATargetThatIsNotThereIsInTheRecords) {
  boost::asio::ip::tcp::acceptor taken(io_, {boost::asio::ip::address_v4::loopback(), 0});
  target_.port = taken.local_endpoint().port();
  taken.close();
  expect_all(Outcome::kUnreachable, "connection refused", 0);
}

TEST_F(RunnerTest, GivesUpOnServersThatHang) {
  options_.request_timeout = 400ms;
  options_.concurrency = 3;
  start_server({.fault = Fault::kHang});
  expect_all(Outcome::kTimeout, "no answer within 0.4 s", 0);
  start_server({.fault = Fault::kStall});
  expect_all(Outcome::kTimeout, "nothing came for 0.4 s");
}

TEST_F(RunnerTest, AnAnswerIsOverAtDoneThoughItsBodyDoesNotEnd) {
  start_server({.fault = Fault::kOpenEnd});
  expect_all(Outcome::kCompleted, "");
}

TEST_F(RunnerTest, LeavesAsTheWorkloadAsks) {
  start_server({.fault = Fault::kStall});  // two of four tokens, then nothing
  workload_.leave_after = 2;
  for (const RequestRecord& record : records()) {
    EXPECT_EQ(record.outcome, Outcome::kLeft);
    EXPECT_EQ(record.reason, "");
    EXPECT_EQ(record.token_events, 2);
    EXPECT_EQ(record.output_tokens, 2);
  }
}

TEST_F(RunnerTest, LeavesBeforeTheFirstToken) {
  start_server({.timing = {.ttft = 10h}});
  workload_.leave_after = 0;
  for (const RequestRecord& record : records()) {
    EXPECT_EQ(record.outcome, Outcome::kLeft);
    EXPECT_EQ(record.token_events, 0);
    EXPECT_EQ(record.status, 0u);
  }
}

TEST_F(RunnerTest, StopCancelsWhatIsInFlight) {
  start_server({.timing = {.ttft = 1ms, .gap = 10h}});
  workload_.count = std::nullopt;
  options_.concurrency = 0;
  options_.schedule = {0ms, 0ms, 0ms, 10h};
  Runner runner(io_, target_, options_);
  std::thread stopper([&] {
    while (server_->requests() < 3) std::this_thread::yield();
    runner.stop();
  });
  const auto result = runner.run(workload_);
  stopper.join();
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->stopped_early);
  ASSERT_EQ(result->records.size(), 3u);
  for (const RequestRecord& record : result->records) {
    EXPECT_EQ(record.outcome, Outcome::kUnfinished);
  }
}

TEST_F(RunnerTest, StopsBeforeItBegan) {
  start_server();
  Runner runner(io_, target_, options_);
  runner.stop();
  const auto result = runner.run(workload_);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->stopped_early);
  EXPECT_TRUE(result->records.empty());
}

TEST_F(RunnerTest, ReportsTheWorkloadsErrors) {
  start_server();
  workload_.broken = 2;
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.error().message, "line 4");
  options_.concurrency = 0;
  options_.schedule = {0ms, 0ms, 10h};
  EXPECT_FALSE(run());
}

TEST_F(RunnerTest, RefusesOptionsThatMakeNoRun) {
  options_.concurrency = 0;
  EXPECT_FALSE(run());
  options_.concurrency = 1;
  options_.extra_body = "nonsense";
  EXPECT_FALSE(run());
}

TEST_F(RunnerTest, ReportsProgress) {
  start_server({.timing = {.ttft = 1ms, .gap = 1ms}});
  Runner runner(io_, target_, options_);
  std::vector<RunProgress> seen;
  runner.on_progress([&seen](RunProgress progress) { seen.push_back(std::move(progress)); });
  ASSERT_TRUE(runner.run(workload_));
  ASSERT_FALSE(seen.empty());
  std::size_t ttfts = 0;
  std::size_t tpots = 0;
  for (const RunProgress& progress : seen) {
    ttfts += progress.ttft_ms.size();
    tpots += progress.tpot_ms.size();
  }
  EXPECT_EQ(ttfts, 3u);
  EXPECT_EQ(tpots, 3u);
  EXPECT_EQ(seen.back().offered, 3u);
  EXPECT_EQ(seen.back().completed, 3u);
  EXPECT_EQ(seen.back().running, 0u);
  EXPECT_EQ(seen.back().output_tokens, 12);
}

TEST_F(RunnerTest, ReadsWhatABatonRouterSays) {
  start_server(
      {.fields = {{"x-baton-prefill", "p0"},
                  {"x-baton-decode", "d0"},
                  {"x-baton-timing",
                   R"({"plan_us":1500,"prefill_pod_queue_ms":2.5,"prefill_pod_prefill_ms":30,)"
                   R"("queue_ms":1,"prefill_ms":4,"exposed_transfer_ms":3,"first_step_ms":5,)"
                   R"("kv_bytes":4096,"transport":"shm","retries":1})"}}});
  const std::vector<RequestRecord> got = records();
  ASSERT_EQ(got.size(), 3u);
  ASSERT_TRUE(got[0].stages);
  const StageTimes& stages = *got[0].stages;
  EXPECT_EQ(stages.plan_ms, 1.5);
  EXPECT_EQ(stages.prefill_queue_ms, 2.5);
  EXPECT_EQ(stages.prefill_ms, 30);
  EXPECT_EQ(stages.decode_queue_ms, 1);
  EXPECT_EQ(stages.exposed_transfer_ms, 3);
  EXPECT_EQ(stages.first_step_ms, 5);
  EXPECT_EQ(stages.kv_bytes, 4096);
  EXPECT_EQ(stages.retries, 1);
  EXPECT_EQ(stages.transport, "shm");
  EXPECT_EQ(stages.prefill_pod, "p0");
  EXPECT_EQ(stages.decode_pod, "d0");
}

TEST_F(RunnerTest, OfADecodeOnlyAnswerThePrefillIsTheDecodePods) {
  start_server({.fields = {{"x-baton-decode", "d0"},
                           {"x-baton-timing", R"({"queue_ms":1,"prefill_ms":4})"}}});
  const std::vector<RequestRecord> got = records();
  ASSERT_TRUE(got.at(0).stages);
  EXPECT_EQ(got[0].stages->prefill_ms, 4);
  EXPECT_EQ(got[0].stages->decode_queue_ms, 1);
  EXPECT_EQ(got[0].stages->prefill_pod, "");
}

TEST_F(RunnerTest, ResolvesNamesToEachOfTheirAddresses) {
  start_server();
  target_.host = "localhost";  // ::1 first, on many machines, where the server does not listen
  expect_all(Outcome::kCompleted, "");
}

}  // namespace
}  // namespace baton::orchestrator::bench
