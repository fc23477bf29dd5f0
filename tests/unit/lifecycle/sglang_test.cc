// The life of a request before SGLang's servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/engines/sglang/sglang_connector.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Kind = Script::Kind;

// disaggregation/decode.py:2256.
const std::string kTransferFailed =
    R"({"object":"error","message":"Decode transfer failed for request rank=0 with exception )"
    R"(KVTransferError(bootstrap_room=7): peer gone","type":"500","param":null,"code":500})";

class SglangLifeTest : public ::testing::Test {
 protected:
  SglangLifeTest() {
    p0 = &router.add_pod("p0", Role::kPrefill);
    p1 = &router.add_pod("p1", Role::kPrefill);
    decode = &router.add_pod("d0", Role::kDecode);
    router.publish();
  }
  static void first_of(TestPod& a, TestPod& b, const Script& script) {
    a.will(script);
    b.will(script);
  }
  [[nodiscard]] std::size_t prefills() const { return p0->requests.size() + p1->requests.size(); }
  static std::uint64_t room_of(const http::Request& request) {
    return json::parse(request.body).at("bootstrap_room").get<std::uint64_t>();
  }
  void expect_answered(const std::shared_ptr<Call>& call, bool stream = true) {
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_EQ(call->body, stream ? expected_stream("hello") : expected_body("hello"));
  }
  void expect_left(Call& call) {
    call.leave.emit(asio::cancellation_type::terminal);
    ASSERT_TRUE(router.finish(call));
    ASSERT_TRUE(router.run_until([&] { return p0->open + p1->open + decode->open == 0; }));
    EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="client_left",pool="chat"})"), 1);
  }

  adapters::SglangConnector connector;
  Router router{Router::default_pool(), true, &connector};
  TestPod* p0;
  TestPod* p1;
  TestPod* decode;
};

TEST_F(SglangLifeTest, BothServersGetTheirLegAtOnceAndMeetInOneRoom) {
  const auto gate = std::make_shared<Happening>(router.io);
  first_of(*p0, *p1, Script{.gate = gate});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return p0->open + p1->open == 1; }));
  ASSERT_TRUE(router.run_until([&] { return decode->requests.size() == 1; }));
  EXPECT_EQ(call->status, 0U) << "nothing is sent before prefill is known to have worked";
  gate->happen();
  expect_answered(call);
  const http::Request& prefill = (p0->requests.empty() ? p1 : p0)->requests.at(0);
  EXPECT_EQ(room_of(prefill), room_of(decode->requests.at(0)));
  EXPECT_FALSE(json::parse(prefill.body).at("stream"));
  EXPECT_TRUE(json::parse(decode->requests.at(0).body).at("stream"));
}

TEST_F(SglangLifeTest, AFailedPrefillCancelsDecodeAtOnce) {
  for (int i = 0; i < LegPolicy::kMaxAttempts; ++i) {
    first_of(*p0, *p1, {.kind = Kind::kStatus, .status = 500, .body = kTransferFailed});
  }
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return decode->left == 1 && prefills() >= 2; }));
  ASSERT_TRUE(router.run_until([&] { return decode->requests.size() >= 2; }));
  EXPECT_NE(room_of(decode->requests[0]), room_of(decode->requests[1]));
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(prefills(), 3U) << "both pods, then one of them again";
  EXPECT_EQ(call->status, 503U) << "prefill failed everywhere, and the decode pod cannot prefill";
  EXPECT_THAT(call->body, HasSubstr(R"("stage":"prefill")"));
}

TEST_F(SglangLifeTest, ADecodeErrorThatIsPrefillsIsTriedAgainAndNeverShown) {
  for (const bool stream : {true, false}) {
    if (stream) {
      decode->will({.kind = Kind::kErrorFirst, .body = R"({"error":)" + kTransferFailed + "}"});
    } else {
      decode->will_refuse(500, kTransferFailed);
    }
    expect_answered(router.chat(stream), stream);
  }
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 2);
  EXPECT_EQ(router.load(*decode).consecutive_errors, 0) << "it spoke of the other pod";
}

TEST_F(SglangLifeTest, ATransferThatFailsWhilePrefillHangsDoesNotWaitForIt) {
  first_of(*p0, *p1, {.kind = Kind::kHang});
  decode->will_refuse(500, kTransferFailed);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return p0->left + p1->left == 1; }));
  ASSERT_TRUE(router.run_until([&] { return prefills() == 2; }));
  expect_left(*call);
}

TEST_F(SglangLifeTest, APrefillThatWasAbortedIsTriedAgainAndNeverShown) {
  p1->stop();
  router.load(*p1).draining = true;
  p0->will_refuse(200, R"({"choices":[{"index":0,"finish_reason":"abort"}]})");
  decode->will(Kind::kHang);
  expect_answered(router.chat());
  EXPECT_EQ(p0->requests.size(), 2U);
  EXPECT_EQ(decode->left, 1);
  EXPECT_EQ(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 1);
}

// A refusal that the server finds behind its status has the status of its `code`.
TEST_F(SglangLifeTest, AnErrorEventOfTheClientsFaultIsTheClients) {
  const std::string said =
      R"({"error":{"object":"error","message":"Request a exceeds the maximum number of tokens",)"
      R"("type":"BAD_REQUEST","param":null,"code":400}})";
  decode->will({.kind = Kind::kErrorFirst, .body = said});
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 400U);
  EXPECT_EQ(call->body, said);
  EXPECT_EQ(call->field("content-type"), "application/json");
  EXPECT_EQ(decode->requests.size(), 1U);
}

TEST_F(SglangLifeTest, AClientThatLeavesWhileBothRunStopsBoth) {
  first_of(*p0, *p1, {.kind = Kind::kHang});
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return p0->open + p1->open == 1 && decode->open == 1; }));
  expect_left(*call);
  EXPECT_EQ(p0->left + p1->left, 1);
  EXPECT_EQ(decode->left, 1);
}

TEST_F(SglangLifeTest, AClientThatLeavesAfterPrefillStopsDecode) {
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] {
    return decode->open == 1 &&
           router.metric(R"(baton_leg_seconds_count{leg="prefill",pool="chat"})") == 1;
  }));
  expect_left(*call);
  EXPECT_EQ(decode->left, 1);
}

TEST_F(SglangLifeTest, AClientThatLeavesInTheStreamStopsIt) {
  decode->will({.kind = Kind::kFlood, .flood_bytes = std::size_t{1} << 30});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return call->status == 200; }));
  expect_left(*call);
  EXPECT_EQ(decode->left, 1);
}

TEST_F(SglangLifeTest, WhatCannotBeSplitNeedsAPodThatDoesBoth) {
  const std::string body = R"({"model":"m","n":2,"messages":[{"role":"user","content":"hi"}]})";
  const auto refused = router.call("POST", "/v1/chat/completions", body);
  ASSERT_TRUE(router.finish(*refused));
  EXPECT_EQ(refused->status, 400U);
  EXPECT_THAT(refused->body, HasSubstr("n > 1"));
  TestPod& whole = router.add_pod("w0", Role::kBoth);
  router.publish();
  const auto served = router.call("POST", "/v1/chat/completions", body);
  ASSERT_TRUE(router.finish(*served));
  EXPECT_EQ(served->body, expected_body("hello"));
  ASSERT_EQ(whole.requests.size(), 1U);
  EXPECT_EQ(whole.requests[0].body, body);
  EXPECT_EQ(prefills() + decode->requests.size(), 0U);
}

}  // namespace
}  // namespace baton::orchestrator::testing
