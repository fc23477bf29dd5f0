// The same life with a protocol whose decode leg is made from the prefill leg's answer.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "adapters/engines/baton/baton_connector.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using Kind = Script::Kind;

// Puts the prefill answer's text into the decode body, as protocols with returned parameters do.
class SequentialConnector final : public adapters::Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "sequential"; }
  [[nodiscard]] adapters::Dispatch dispatch() const override {
    return adapters::Dispatch::kSequential;
  }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest&) const override { return {}; }
  [[nodiscard]] Result<adapters::LegRequest> prefill_leg(
      const OpenAiRequest& request, const Plan& plan,
      const adapters::HandoffKey& key) const override {
    return baton_.prefill_leg(request, plan, key);
  }
  [[nodiscard]] Result<adapters::LegRequest> decode_leg(
      const OpenAiRequest& request, const Plan& plan, const adapters::HandoffKey&,
      const adapters::PrefillResponse* prefill) const override {
    EXPECT_EQ(prefill != nullptr, plan.kind == PlanKind::kSplit);
    JsonPatch patch;
    if (prefill != nullptr) patch.set("kv_transfer_params", json_quote(prefill->body));
    adapters::LegRequest leg;
    leg.target = "/v1/chat/completions";
    leg.body = patch.apply(request.body, request.fields);
    return leg;
  }
  [[nodiscard]] adapters::LegAction on_leg_failure(const Error& error) const override {
    return baton_.on_leg_failure(error);
  }
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override {
    return baton_.read_error(status, body, leg);
  }

 private:
  adapters::BatonConnector baton_;
};

class SequentialTest : public ::testing::Test {
 protected:
  SequentialTest() {
    prefill = &router.add_pod("p0", Role::kPrefill);
    prefill->answer_text = "parameters";
    decode = &router.add_pod("d0", Role::kDecode);
    router.publish();
  }
  std::string given_to(const http::Request& request) {
    return json::parse(request.body).value("kv_transfer_params", std::string());
  }

  SequentialConnector connector;
  Router router{Router::default_pool(), true, &connector};
  TestPod* prefill;
  TestPod* decode;
};

TEST_F(SequentialTest, TheDecodeLegIsMadeFromThePrefillAnswer) {
  const auto gate = std::make_shared<Happening>(router.io);
  prefill->will(Script{.gate = gate});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1; }));
  EXPECT_TRUE(decode->requests.empty());
  gate->happen();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->body, expected_stream("hello"));
  ASSERT_EQ(decode->requests.size(), 1U);
  EXPECT_EQ(given_to(decode->requests[0]), expected_body("parameters"));
}

TEST_F(SequentialTest, AFailedDecodePodIsReplacedWithTheSameParameters) {
  TestPod& other = router.add_pod("d1", Role::kDecode);
  router.publish();
  decode->will_refuse(503, "");
  other.will_refuse(503, "");
  const auto call = router.chat();
  ASSERT_TRUE(
      router.run_until([&] { return decode->requests.size() == 1 && other.requests.size() == 1; }));
  EXPECT_EQ(prefill->requests.size(), 1U);
  EXPECT_EQ(given_to(decode->requests[0]), given_to(other.requests[0]));
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << "the pair once more: " << call->body;
}

TEST_F(SequentialTest, AFailedPrefillPodIsReplacedBeforeAnyDecodeLeg) {
  TestPod& other = router.add_pod("p1", Role::kPrefill);
  other.answer_text = "others";
  router.publish();
  prefill->stop();
  for (int i = 0; i < 4; ++i) {
    const auto call = router.chat();
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->body, expected_stream("hello"));
  }
  for (const auto& request : decode->requests) {
    EXPECT_EQ(given_to(request), expected_body("others"));
  }
}

TEST_F(SequentialTest, WithoutPrefillPodsTheDecodePodPrefills) {
  prefill->stop();
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->body, expected_stream("hello"));
  EXPECT_EQ(given_to(decode->requests[0]), "");
}

TEST_F(SequentialTest, AClientThatLeavesStopsTheLegThatRuns) {
  prefill->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1; }));
  call->leave.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(router.finish(*call));
  ASSERT_TRUE(router.run_until([&] { return prefill->left == 1; }));
  EXPECT_TRUE(decode->requests.empty());
}

// A connector with a defect that shows when a leg runs already.
class DefectiveConnector final : public adapters::Connector {
 public:
  [[nodiscard]] std::string_view name() const override { return "defective"; }
  [[nodiscard]] adapters::Dispatch dispatch() const override {
    return adapters::Dispatch::kConcurrent;
  }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest&) const override { return {}; }
  [[nodiscard]] Result<adapters::LegRequest> prefill_leg(
      const OpenAiRequest& request, const Plan& plan,
      const adapters::HandoffKey& key) const override {
    return baton_.prefill_leg(request, plan, key);
  }
  [[nodiscard]] Result<adapters::LegRequest> decode_leg(
      const OpenAiRequest&, const Plan&, const adapters::HandoffKey&,
      const adapters::PrefillResponse*) const override {
    throw std::runtime_error("defect");
  }
  [[nodiscard]] adapters::LegAction on_leg_failure(const Error&) const override {
    return adapters::LegAction::kFail;
  }
  [[nodiscard]] Error read_error(unsigned status, std::string_view body, Stage leg) const override {
    return baton_.read_error(status, body, leg);
  }

 private:
  adapters::BatonConnector baton_;
};

TEST(Defect, ARequestThatFailsInTheRouterLeavesNoLegBehind) {
  DefectiveConnector connector;
  Router router(Router::default_pool(), true, &connector);
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  router.add_pod("d0", Role::kDecode);
  router.publish();
  prefill.will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 500U);
  ASSERT_TRUE(router.run_until([&] { return prefill.open == 0; }));
}

}  // namespace
}  // namespace baton::orchestrator::testing
