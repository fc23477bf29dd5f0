#include <gtest/gtest.h>

#include "orchestrator/bench/results/summary.h"
#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

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

}  // namespace
}  // namespace baton::orchestrator::bench
