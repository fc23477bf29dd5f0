// What requests ask for in x-slo-…-ms.
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
  const SloConfig pool{milliseconds(500), milliseconds(40)};
  const auto same = slo_of_request(pool, {{"x-slo", "1"}, {"x-baton-explain", "1"}});
  EXPECT_EQ(same->ttft, pool.ttft);
  EXPECT_EQ(same->tpot, pool.tpot);
  const auto one = slo_of_request(pool, {{"x-slo-tpot-ms", "7.5"}});
  EXPECT_EQ(one->ttft, pool.ttft);
  EXPECT_EQ(one->tpot, microseconds(7500));
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

class SloTest : public ::testing::Test {
 protected:
  SloTest() { router.publish(); }

  Router router;
  TestPod* prefill = &router.add_pod("p0", Role::kPrefill);
  TestPod* decode = &router.add_pod("d0", Role::kDecode);
};

TEST_F(SloTest, ABadFieldIsTheClientsError) {
  const auto call = router.chat(true, {{"x-slo-tpot-ms", "fast"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 400U);
  const json error = json::parse(call->body).at("error");
  EXPECT_EQ(error.at("param"), "x-slo-tpot-ms");
  EXPECT_EQ(error.at("code"), "invalid_argument");
  EXPECT_TRUE(prefill->requests.empty() && decode->requests.empty());
}

TEST_F(SloTest, FieldsStayWithTheRouter) {
  const auto call = router.chat(true, {{"x-slo-ttft-ms", "60000"}, {"x-slo-tpot-ms", "60000"}});
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  for (const TestPod* pod : {prefill, decode}) {
    ASSERT_EQ(pod->requests.size(), 1U);
    EXPECT_EQ(pod->requests[0].field("x-slo-ttft-ms"), "");
    EXPECT_EQ(pod->requests[0].field("x-slo-tpot-ms"), "");
  }
}

TEST_F(SloTest, PlansKnowTheFieldsToo) {
  const std::string body = R"({"model":"m","prompt":"Tell me.","max_tokens":8})";
  const auto exceeds = [](const AdminResponse& answer) {
    return json::parse(answer.body).at("terms").contains("slo_excess");
  };
  EXPECT_FALSE(exceeds(plan_for_body(router.context(), body)));
  const http::Fields tight = {{"x-slo-ttft-ms", "0.5"}};
  EXPECT_TRUE(exceeds(plan_for_body(router.context(), body, tight)));
  EXPECT_TRUE(exceeds(plan_for_size(router.context(), "m", Tokens(100), tight)));
  const http::Fields bad = {{"x-slo-ttft-ms", "x"}};
  EXPECT_EQ(plan_for_body(router.context(), body, bad).status, 400U);
}

}  // namespace
}  // namespace baton::orchestrator::testing
