#include "orchestrator/simulate/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace baton::orchestrator::simulate {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Asked {
  Duration at{};
  std::vector<int> ids;
  int output = 1;
  std::string lora;
};

class FixedWorkload final : public bench::Workload {
 public:
  explicit FixedWorkload(std::vector<Asked> asked) : asked_(std::move(asked)) {}
  [[nodiscard]] std::optional<std::size_t> size() const override { return asked_.size(); }
  [[nodiscard]] Result<bench::WorkloadRequest> request(std::size_t index) override {
    bench::WorkloadRequest request;
    request.token_ids = asked_[index].ids;
    request.prompt_tokens = static_cast<int>(request.token_ids.size());
    request.max_tokens = asked_[index].output;
    request.model = asked_[index].lora;
    return request;
  }
  [[nodiscard]] std::string describe() const override { return "fixed"; }
  [[nodiscard]] std::vector<Duration> schedule() const {
    std::vector<Duration> times;
    for (const Asked& asked : asked_) times.push_back(asked.at);
    return times;
  }

 private:
  std::vector<Asked> asked_;
};

// Prompts of one `seed` begin alike.
std::vector<int> ids_of(int tokens, int seed) {
  std::vector<int> ids(static_cast<std::size_t>(tokens));
  std::iota(ids.begin(), ids.end(), 3 + seed * 1'000'000);
  return ids;
}

SimulationOptions pods_of(int prefill, int decode, int both, const std::string& profile) {
  SimulationOptions options;
  const auto add = [&](int count, Role role) {
    for (int i = 0; i < count; ++i) {
      options.pods.push_back({std::string(name_of(role)) + "-" + std::to_string(i), role,
                              *find_engine_profile(profile)});
    }
  };
  add(prefill, Role::kPrefill);
  add(decode, Role::kDecode);
  add(both, Role::kBoth);
  options.split = both > 0 ? Split::kNever : Split::kAlways;
  return options;
}

SimulationResult run(const SimulationOptions& options, std::vector<Asked> asked) {
  FixedWorkload workload(std::move(asked));
  auto result = simulate(options, workload, workload.schedule());
  EXPECT_TRUE(result) << result.error().message;
  return std::move(*result);
}

double ttft_ms(const bench::RequestRecord& record) {
  return to_ms(record.first_token - record.sent);
}
double e2e_ms(const bench::RequestRecord& record) { return to_ms(record.last_token - record.sent); }

// What Dynamo 1.2.1's offline replay says of the same requests (python -m dynamo.replay with one
// worker of each role, blocks of 64 tokens).
TEST(SimulationTest, TimesAreThoseOfDynamosReplay) {
  const SimulationOptions split = pods_of(1, 1, 0, "dynamo-mocker");
  const SimulationOptions whole = pods_of(0, 0, 1, "dynamo-mocker");
  for (const SimulationOptions& options : {split, whole}) {
    const auto one = run(options, {{{}, ids_of(1000, 0), 3, ""}});
    EXPECT_NEAR(ttft_ms(one.run.records[0]), 37.899, 0.001);
    EXPECT_NEAR(e2e_ms(one.run.records[0]), 49.484, 0.001);
    const auto longer = run(options, {{{}, ids_of(20000, 0), 3, ""}});
    EXPECT_NEAR(ttft_ms(longer.run.records[0]), 421.946, 0.001);
    EXPECT_NEAR(e2e_ms(longer.run.records[0]), 435.471, 0.001);
  }
  const auto two = run(whole, {{{}, ids_of(1000, 0), 3, ""}, {{}, ids_of(3000, 1), 3, ""}});
  for (const auto& record : two.run.records) {
    EXPECT_NEAR(ttft_ms(record), 89.918, 0.001);
    EXPECT_NEAR(e2e_ms(record), 101.813, 0.001);
  }
}

TEST(SimulationTest, PrefixesThatAreHeldAreNotComputedAgain) {
  const auto result = run(pods_of(0, 0, 1, "dynamo-mocker"),
                          {{{}, ids_of(2000, 0), 4, ""}, {seconds(5), ids_of(2000, 0), 4, ""}});
  EXPECT_EQ(result.run.records[1].cached_tokens, 1984);  // 31 blocks of 64
  EXPECT_EQ(result.system.reused_tokens, 1984);
  EXPECT_LT(ttft_ms(result.run.records[1]), ttft_ms(result.run.records[0]) / 2);
}

TEST(SimulationTest, HandOffsTakeTheirLinksTime) {
  const auto result = run(pods_of(1, 1, 0, "dynamo-mocker-64gbs"), {{{}, ids_of(6400, 0), 2, ""}});
  const auto& stages = *result.run.records[0].stages;
  const double bytes = 6400.0 * 131072;
  EXPECT_EQ(stages.kv_bytes, static_cast<std::int64_t>(bytes));
  EXPECT_NEAR(stages.exposed_transfer_ms, bytes / 64e9 * 1e3, 0.01);
  EXPECT_EQ(result.system.hand_offs, 1);
  EXPECT_EQ(stages.prefill_pod, "prefill-0");
  EXPECT_EQ(stages.decode_pod, "decode-0");
  const double parts = stages.prefill_queue_ms + stages.prefill_ms + stages.decode_queue_ms +
                       stages.exposed_transfer_ms + stages.first_step_ms;
  EXPECT_NEAR(parts, ttft_ms(result.run.records[0]), 0.001);
}

std::vector<Asked> some_traffic(int requests, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<Asked> asked;
  for (int i = 0; i < requests; ++i) {
    const int prompt = 200 + static_cast<int>(rng() % 6000);
    asked.push_back({milliseconds(40 * i), ids_of(prompt, static_cast<int>(rng() % 12)),
                     2 + static_cast<int>(rng() % 60), ""});
  }
  return asked;
}

using Facts = std::vector<std::pair<std::string, std::int64_t>>;
Facts facts_of(const SimulationResult& result) {
  Facts facts;
  for (const auto& record : result.run.records) {
    facts.emplace_back(record.stages->prefill_pod + ">" + record.stages->decode_pod,
                       record.last_token.count());
  }
  return facts;
}

TEST(SimulationTest, EveryPolicyServesEveryRequestAndTheSameSeedTheSameWay) {
  for (const std::string_view name : policy_names()) {
    SimulationOptions options = pods_of(2, 2, 0, "llama3-8b-h100");
    options.prefill_policy = options.decode_policy = *policy_from_name(name);
    options.replicas = 2;
    options.split = Split::kAuto;
    const auto asked = some_traffic(80, 5);
    const auto result = run(options, asked);
    ASSERT_EQ(result.run.records.size(), 80U) << name;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_TRUE(result.run.records[i].completed()) << name;
      EXPECT_EQ(result.run.records[i].output_tokens, asked[i].output);
      EXPECT_EQ(result.run.records[i].gaps_us.size() + 1,
                static_cast<std::size_t>(asked[i].output));
    }
    EXPECT_EQ(result.system.hand_offs + result.system.decode_only, 80);
    EXPECT_EQ(facts_of(run(options, asked)), facts_of(result)) << name;
  }
}

// Routers do not know how long answers will be.
TEST(SimulationTest, PicksBeforeTheFirstCompletionDoNotKnowTheAnswersLengths) {
  std::vector<Asked> asked = some_traffic(40, 7);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    asked[i].at = milliseconds(5 * i);
    asked[i].output = 200 + static_cast<int>(i);
  }
  const SimulationOptions options = pods_of(3, 3, 0, "llama3-8b-h100");
  const auto one = run(options, asked);
  std::vector<int> outputs;
  for (const Asked& each : asked) outputs.push_back(each.output);
  std::ranges::shuffle(outputs, std::mt19937_64(3));
  for (std::size_t i = 0; i < asked.size(); ++i) asked[i].output = outputs[i];
  const auto other = run(options, asked);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ(one.run.records[i].stages->prefill_pod, other.run.records[i].stages->prefill_pod);
    EXPECT_EQ(one.run.records[i].stages->decode_pod, other.run.records[i].stages->decode_pod);
  }
}

TEST(SimulationTest, RequestsOfAPodThatDiesAreServedByOthers) {
  for (const char* lost : {"prefill-0", "decode-0"}) {
    SimulationOptions options = pods_of(2, 2, 0, "llama3-8b-h100");
    options.losses = {{lost, milliseconds(1500), seconds(1)}};
    const auto result = run(options, some_traffic(150, 9));
    EXPECT_GT(result.system.retries, 0) << lost;
    std::int64_t completed = 0;
    std::int64_t cut = 0;
    for (const auto& record : result.run.records) {
      completed += record.completed() ? 1 : 0;
      cut += record.outcome == bench::Outcome::kStreamError ? 1 : 0;
    }
    EXPECT_EQ(completed + cut, 150) << lost;
    EXPECT_EQ(cut > 0, std::string_view(lost) == "decode-0");
  }
}

// A stream holds the decode pod's room for longer than a lease lasts.
TEST(SimulationTest, AHandOffThatFindsNoRoomEndsWithItsLease) {
  SimulationOptions options = pods_of(1, 1, 0, "llama3-8b-h100");
  options.pods[1].profile.engine.blocks = 600;
  options.pods[1].profile.engine.timing.step_base_s = 0.1;
  const auto result =
      run(options, {{{}, ids_of(8000, 0), 500, ""}, {milliseconds(10), ids_of(8000, 1), 5, ""}});
  EXPECT_TRUE(result.run.records[0].completed());
  EXPECT_TRUE(result.run.records[1].completed());
  EXPECT_EQ(result.system.retries, 1);
  EXPECT_GT(to_seconds(result.run.records[1].first_token), 50.0);
  EXPECT_EQ(result.run.records[1].stages->retries, 1);
}

TEST(SimulationTest, WithoutAPodLeftRequestsAreRejectedInTime) {
  SimulationOptions options = pods_of(0, 0, 1, "llama3-8b-h100");
  options.losses = {{"both-0", milliseconds(1), Duration::max()}};
  const auto result = run(options, {{milliseconds(10), ids_of(100, 0), 4, ""}});
  EXPECT_EQ(result.run.records[0].outcome, bench::Outcome::kRejected);
  EXPECT_LE(to_seconds(result.run.records[0].ended), 35.0);
}

TEST(SimulationTest, AdaptersAreLoadedOnce) {
  std::vector<Asked> asked;
  for (int i = 0; i < 6; ++i) {
    asked.push_back({seconds(i), ids_of(500, i), 3, i % 2 == 0 ? "sql" : "tools"});
  }
  const auto result = run(pods_of(0, 0, 1, "llama3-8b-h100"), asked);
  EXPECT_GT(ttft_ms(result.run.records[0]), 100);  // 0.1 s of loading
  EXPECT_GT(ttft_ms(result.run.records[1]), 100);
  for (std::size_t i = 2; i < 6; ++i) EXPECT_LT(ttft_ms(result.run.records[i]), 100);
}

TEST(SimulationTest, APromptThatNoPodHoldsIsRefused) {
  SimulationOptions options = pods_of(0, 0, 1, "llama3-8b-h100");
  options.pods[0].profile.engine.blocks = 10;
  const auto result = run(options, {{{}, ids_of(5000, 0), 4, ""}, {{}, ids_of(100, 1), 4, ""}});
  EXPECT_EQ(result.run.records[0].outcome, bench::Outcome::kHttpError);
  EXPECT_TRUE(result.run.records[1].completed());
}

}  // namespace
}  // namespace baton::orchestrator::simulate
