// Pods that are asked for more than they can do, with and without refusing what would miss its SLO.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "orchestrator/simulate/study.h"

namespace baton::orchestrator::simulate {
namespace {

struct Overload {
  std::string pods;
  Split split = Split::kAuto;
  double rate = 0;  // requests a second
  int requests = 0;
  int prompt = 0;  // tokens
  int output = 0;
  std::string goodput;
  SloConfig slo;
};

struct Served {
  double good_share = 0;
  std::int64_t refused = 0;
  std::vector<bench::RequestRecord> records;
};

Served serve(const Overload& overload, Admission admission) {
  StudyOptions study;
  study.workload.kind = bench::WorkloadKind::kRandom;
  study.workload.input_tokens = overload.prompt;
  study.workload.output_tokens = overload.output;
  study.workload.range_ratio = 0.5;
  study.load.rate = overload.rate;
  study.load.requests = static_cast<std::size_t>(overload.requests);
  study.load.seed = 5;
  study.system.pods = *parse_pods(overload.pods, *find_engine_profile("llama3-8b-h100"));
  study.system.split = overload.split;
  study.system.slo = overload.slo;
  study.system.slo.admission = admission;
  study.goodput = *bench::parse_slo(overload.goodput);
  study.policies = {*parse_policy("predicted")};
  auto result = run_study(study, {});
  EXPECT_TRUE(result) << result.error().message;
  const bench::Json& goodput = result->json.at("baton").at("goodput");
  EXPECT_EQ(goodput.at("offered"), overload.requests);
  return {goodput.at("share"), result->json.at("system").at("refused"), std::move(result->records)};
}

// Requests that are served at times from `begin` to `end`, every half second.
std::vector<int> in_flight(const std::vector<bench::RequestRecord>& records, Duration begin,
                           Duration end) {
  std::vector<int> counts;
  for (Duration at = begin; at < end; at += std::chrono::milliseconds(500)) {
    counts.push_back(static_cast<int>(std::ranges::count_if(records, [at](const auto& record) {
      return record.completed() && record.sent <= at && at < record.ended;
    })));
  }
  return counts;
}

// Streams neither pile up nor run dry: within a factor of two, once there are many.
void expect_steady(const std::vector<bench::RequestRecord>& records, Duration begin, Duration end) {
  const std::vector<int> counts = in_flight(records, begin, end);
  const auto [least, most] = std::ranges::minmax(counts);
  EXPECT_LE(most, 2 * least) << ::testing::PrintToString(counts);
}

std::vector<bench::RequestRecord> expect_refusing_pays(const Overload& overload) {
  const Served all = serve(overload, Admission::kServe);
  Served some = serve(overload, Admission::kRefuse);
  EXPECT_EQ(all.refused, 0);
  EXPECT_GT(some.refused, 0);
  EXPECT_EQ(some.refused, std::ranges::count(some.records, 429U, &bench::RequestRecord::status));
  for (const bench::RequestRecord& record : some.records) {
    if (record.status != 429) continue;
    EXPECT_EQ(record.outcome, bench::Outcome::kRejected);
    EXPECT_EQ(record.ended, record.sent);
  }
  EXPECT_GT(some.good_share, all.good_share + 0.2);
  return std::move(some.records);
}

SloConfig slo(Duration ttft, Duration tpot) { return {ttft, tpot, Admission::kServe}; }

TEST(OverloadTest, OfPrefillPods) {
  (void)expect_refusing_pays({"prefill=1,decode=1", Split::kAlways, 20, 600, 3000, 60,
                              "ttft:1000,tpot:25",
                              slo(std::chrono::seconds(1), std::chrono::milliseconds(25))});
}

// At twice what the decode pod can do within the bound.
TEST(OverloadTest, OfDecodePodsDoesNotSwing) {
  const auto records = expect_refusing_pays(
      {"prefill=2,decode=1", Split::kAuto, 20, 800, 1500, 300, "ttft:2000,tpot:12",
       slo(std::chrono::seconds(2), std::chrono::milliseconds(12))});
  expect_steady(records, std::chrono::seconds(15), std::chrono::seconds(38));
}

}  // namespace
}  // namespace baton::orchestrator::simulate
