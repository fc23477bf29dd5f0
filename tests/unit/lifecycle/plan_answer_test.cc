#include "orchestrator/admin/plan_answer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;

const std::string kBody =
    R"({"model":"m","prompt":")" + std::string(4000, 'x') + R"(","max_tokens":8})";

class PlanAnswerTest : public ::testing::Test {
 protected:
  PlanAnswerTest() {
    for (const char* name : {"p0", "p1"}) router_.add_pod(name, Role::kPrefill);
    for (const char* name : {"d0", "d1"}) router_.add_pod(name, Role::kDecode);
    router_.publish();
  }
  json plan() {
    const AdminResponse answer = plan_for_body(router_.context(), kBody);
    EXPECT_EQ(answer.status, 200U) << answer.body;
    return json::parse(answer.body);
  }
  std::shared_ptr<Call> serve() {
    auto call = router_.call("POST", "/v1/completions", kBody);
    EXPECT_TRUE(router_.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    return call;
  }

  Router router_;
};

TEST_F(PlanAnswerTest, IsWhatTheNextRequestGets) {
  EXPECT_EQ(plan()["prefill_cached"], 0);
  const auto first = serve();
  const json planned = plan();
  EXPECT_GT(planned["prefill_cached"], 0);
  EXPECT_EQ(planned["prefill"].get<std::string>(), first->field("x-baton-prefill"));
  const auto second = serve();
  EXPECT_EQ(second->field("x-baton-prefill"), planned["prefill"].get<std::string>());
}

TEST_F(PlanAnswerTest, SendsCountsAndBelievesNothing) {
  const std::size_t believed = router_.prefixes().elements();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(plan()["prefill_cached"], 0);
  EXPECT_EQ(router_.prefixes().elements(), believed);
  EXPECT_TRUE(router_.settled());
  EXPECT_EQ(router_.context().open_requests, 0);
}

TEST_F(PlanAnswerTest, WhatRequestsShowedOfSizesIsTold) {
  EXPECT_EQ(router_.sizes().bytes_per_token, 0);
  EXPECT_EQ(router_.sizes().output_tokens, 0);
  serve();
  EXPECT_GT(router_.sizes().bytes_per_token, 0);
  EXPECT_GT(router_.sizes().output_tokens, 0);
}

}  // namespace
}  // namespace baton::orchestrator::testing
