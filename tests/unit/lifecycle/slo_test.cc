// What requests ask for in x-slo-…-ms, and what becomes of those that would not get it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/admin/plan_answer.h"
#include "orchestrator/http/slo_fields.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST(SloFields, AreOfTheRequestWhereItNamesThem) {
  const SloConfig pool{milliseconds(500), milliseconds(40), Admission::kRefuse};
  const auto same = slo_of_request(pool, {{"x-slo", "1"}, {"x-baton-explain", "1"}});
  EXPECT_EQ(same->ttft, pool.ttft);
  EXPECT_EQ(same->tpot, pool.tpot);
  const auto one = slo_of_request(pool, {{"x-slo-tpot-ms", "7.5"}});
  EXPECT_EQ(one->ttft, pool.ttft);
  EXPECT_EQ(one->tpot, microseconds(7500));
  EXPECT_EQ(one->admission, Admission::kRefuse);
  const auto both = slo_of_request({}, {{"x-slo-tpot-ms", "25"}, {"x-slo-ttft-ms", "2e3"}});
  EXPECT_EQ(both->ttft, milliseconds(2000));
  EXPECT_EQ(both->tpot, milliseconds(25));
}

TEST(SloFields, AreToldWhenTheyMakeNoSense) {
  for (const char* value : {"", "0", "-5", "nan", "inf", "1e-9", "1e99", "5ms", "0x10", "1 2"}) {
    const auto slo = slo_of_request({}, {{"x-slo-ttft-ms", value}});
    ASSERT_FALSE(slo) << value;
    EXPECT_EQ(slo.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(slo.error().param, "x-slo-ttft-ms");
    EXPECT_THAT(slo.error().message, HasSubstr("x-slo-ttft-ms must be a number of milliseconds"));
  }
  const auto twice = slo_of_request({}, {{"x-slo-tpot-ms", "5"}, {"x-slo-tpot-ms", "5"}});
  ASSERT_FALSE(twice);
  EXPECT_THAT(twice.error().message, HasSubstr("x-slo-tpot-ms is given twice"));
}

PoolConfig pool_with(Admission admission) {
  PoolConfig pool = Router::default_pool();
  pool.slo = {std::chrono::seconds(60), std::nullopt, admission};
  return pool;
}

class SloTest : public ::testing::TestWithParam<Admission> {
 protected:
  SloTest() { router.publish(); }

  Router router{pool_with(GetParam())};
  TestPod* prefill = &router.add_pod("p0", Role::kPrefill);
  TestPod* decode = &router.add_pod("d0", Role::kDecode);
};

TEST_P(SloTest, ABadFieldIsTheClientsError) {
  const auto call = router.chat(true, {{"x-slo-tpot-ms", "fast"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 400U);
  const json error = json::parse(call->body).at("error");
  EXPECT_EQ(error.at("param"), "x-slo-tpot-ms");
  EXPECT_EQ(error.at("code"), "invalid_argument");
  EXPECT_TRUE(prefill->requests.empty() && decode->requests.empty());
}

TEST_P(SloTest, FieldsStayWithTheRouter) {
  const auto call = router.chat(true, {{"x-slo-ttft-ms", "60000"}, {"x-slo-tpot-ms", "60000"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  for (const TestPod* pod : {prefill, decode}) {
    ASSERT_EQ(pod->requests.size(), 1U);
    EXPECT_EQ(pod->requests[0].field("x-slo-ttft-ms"), "");
    EXPECT_EQ(pod->requests[0].field("x-slo-tpot-ms"), "");
  }
  EXPECT_EQ(router.metric(R"(baton_slo_misses_predicted_total{pool="chat",reason="ttft"})"), 0);
  EXPECT_EQ(router.metric(R"(baton_slo_misses_predicted_total{pool="chat",reason="tpot"})"), 0);
}

TEST_P(SloTest, AMissIsCountedAndRefusedWhereThePoolDoes) {
  const std::size_t believed = router.prefixes().elements();
  const auto call = router.chat(false, {{"x-slo-ttft-ms", "0.001"},
                                        {"x-slo-tpot-ms", "0.001"},
                                        {"x-baton-explain", "1"},
                                        {"x-request-id", "mine-1"}});
  ASSERT_TRUE(router.finish(*call));
  for (const char* reason : {"ttft", "tpot"}) {
    EXPECT_EQ(
        router.metric(std::string(R"(baton_slo_misses_predicted_total{pool="chat",reason=")") +
                      reason + R"("})"),
        1);
  }
  const json plan = json::parse(call->field("x-baton-plan"));
  EXPECT_GT(plan.at("verdict").at("ttft_over_ms"), 0.0);
  EXPECT_GT(plan.at("verdict").at("tpot_over_ms"), 0.0);
  const bool refuses = GetParam() == Admission::kRefuse;
  EXPECT_EQ(plan.at("verdict").at("refused"), refuses);
  if (!refuses) {
    EXPECT_EQ(call->status, 200U);
    EXPECT_EQ(decode->requests.size(), 1U);
    return;
  }
  EXPECT_EQ(call->status, 429U);
  EXPECT_EQ(call->field("x-request-id"), "mine-1");
  EXPECT_EQ(call->field("retry-after"), "60");  // no pod could ever
  const json error = json::parse(call->body).at("error");
  EXPECT_EQ(error.at("code"), "slo_unreachable");
  EXPECT_EQ(error.at("type"), "rate_limit_error");
  EXPECT_THAT(error.at("message"), HasSubstr("x-slo-ttft-ms"));
  EXPECT_THAT(error.at("message"), HasSubstr("x-slo-tpot-ms"));
  EXPECT_TRUE(prefill->requests.empty() && decode->requests.empty());
  EXPECT_EQ(router.prefixes().elements(), believed);
  EXPECT_EQ(router.load(*decode).coming_decodes, 0);
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="refused",pool="chat"})"), 1);

  const auto other = router.chat();
  ASSERT_TRUE(router.finish(*other));
  EXPECT_EQ(other->status, 200U) << other->body;
  EXPECT_EQ(router.load(*decode).coming_decodes, 0);
}

// What waits there is the reason, and the retry comes when it is computed.
TEST_P(SloTest, ABusyPoolIsAskedAgainWhenItsQueueIsShorter) {
  const auto queue = LoadTicket::for_prefill(router.load(*prefill), Tokens(50'000));
  const auto call =
      router.call("POST", "/v1/completions", R"({"model":"m","prompt":"Tell me.","max_tokens":8})",
                  {{"x-slo-ttft-ms", "1000"}});
  ASSERT_TRUE(router.run_until([&] { return call->ended; }));
  if (GetParam() == Admission::kServe) {
    EXPECT_EQ(call->status, 200U);
    return;
  }
  EXPECT_EQ(call->status, 429U);
  const int seconds = std::stoi(call->field("retry-after"));
  EXPECT_GE(seconds, 4);  // of the prior, 50,000 tokens take 5.8 s
  EXPECT_LE(seconds, 6);
  EXPECT_EQ(router.load(*prefill).in_flight, 1);
  EXPECT_EQ(router.load(*decode).in_flight, 0);
}

TEST_P(SloTest, PlansKnowTheFieldsToo) {
  const std::string body = R"({"model":"m","prompt":"Tell me.","max_tokens":8})";
  const auto shown = [](const AdminResponse& answer) {
    return json::parse(answer.body).at("verdict");
  };
  EXPECT_EQ(shown(plan_for_body(router.context(), body)).at("ttft_over_ms"), 0.0);
  const http::Fields tight = {{"x-slo-ttft-ms", "0.5"}};
  for (const AdminResponse& answer : {plan_for_body(router.context(), body, tight),
                                      plan_for_size(router.context(), "m", Tokens(100), tight)}) {
    EXPECT_GT(shown(answer).at("ttft_over_ms"), 0.0);
    EXPECT_EQ(shown(answer).at("refused"), GetParam() == Admission::kRefuse);
  }
  const http::Fields bad = {{"x-slo-ttft-ms", "x"}};
  EXPECT_EQ(plan_for_body(router.context(), body, bad).status, 400U);
  EXPECT_EQ(router.metric(R"(baton_slo_misses_predicted_total{pool="chat",reason="ttft"})"), 0);
}

INSTANTIATE_TEST_SUITE_P(Admissions, SloTest,
                         ::testing::Values(Admission::kServe, Admission::kRefuse),
                         [](const auto& info) {
                           return info.param == Admission::kServe ? "Serve" : "Refuse";
                         });

}  // namespace
}  // namespace baton::orchestrator::testing
