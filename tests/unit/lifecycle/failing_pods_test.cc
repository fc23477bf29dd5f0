// The failure table of docs/operations.md, row by row, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = Script::Kind;

const std::string kHandoffFailed =
    R"({"error":{"message":"peer gone","type":"handoff_error","code":"stale","param":null,)"
    R"("stage":"handoff","retryable":true}})";
const std::string kDecodeFailed =
    R"({"error":{"message":"no room","code":"unavailable","stage":"decode","retryable":true}})";

json params_of(const http::Request& request) {
  return json::parse(request.body).at("kv_transfer_params").at("baton");
}
std::string transfer_id(const http::Request& request) { return params_of(request)["transfer_id"]; }

PoolConfig pool_with(Duration first_byte) {
  PoolConfig pool = Router::default_pool();
  pool.timeouts.first_byte = first_byte;
  return pool;
}

class FailingPodsTest : public ::testing::Test {
 protected:
  explicit FailingPodsTest(PoolConfig pool = Router::default_pool()) : router(std::move(pool)) {
    p0 = &router.add_pod("p0", Role::kPrefill);
    p1 = &router.add_pod("p1", Role::kPrefill);
    d0 = &router.add_pod("d0", Role::kDecode);
    d1 = &router.add_pod("d1", Role::kDecode);
    router.publish();
  }

  // Both pods of a stage get the script, since either may be chosen first.
  static void first_of(TestPod& a, TestPod& b, const Script& script) {
    a.will(script);
    b.will(script);
  }

  void expect_answered(const std::shared_ptr<Call>& call) {
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_FALSE(call->cut);
    EXPECT_EQ(call->body, expected_stream("hello"));
  }

  Router router;
  TestPod* p0;
  TestPod* p1;
  TestPod* d0;
  TestPod* d1;
};

TEST_F(FailingPodsTest, APrefillPodThatRefusesIsReplaced) {
  p0->stop();
  for (int i = 0; i < 6; ++i) expect_answered(router.chat());
  EXPECT_EQ(p1->requests.size(), 6U);
}

TEST_F(FailingPodsTest, APrefillPodThatFailsIsReplacedUnderANewTransfer) {
  p0->will_refuse(500, "");
  p1->will_refuse(500, "");
  d0->will(Kind::kHang);
  d1->will(Kind::kHang);
  const auto call = router.chat();
  // First attempt: a 500 cancels the hanging decode leg. Second: 500 again. Third: no prefill pod
  // is left, the decode pod prefills itself; it may hang once more, so let both be done with that.
  ASSERT_TRUE(router.run_until([&] { return p0->requests.size() + p1->requests.size() == 2; }));
  EXPECT_NE(transfer_id(p0->requests[0]), transfer_id(p1->requests[0]));
  ASSERT_TRUE(router.run_until([&] { return d0->left + d1->left >= 1; }));
  call->leave.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(router.run_until([&] { return call->ended && router.settled(); }));
  ASSERT_TRUE(router.run_until([&] { return d0->open + d1->open == 0; }));
}

TEST_F(FailingPodsTest, APrefillPodThatDiesIsReplaced) {
  p0->will(Kind::kDie);
  const auto first = router.chat();
  const auto second = router.chat();
  expect_answered(first);
  expect_answered(second);
  EXPECT_EQ(p0->requests.size(), 1U);
  const auto retries = [](const auto& call) {
    return nlohmann::json::parse(call->field("x-baton-timing")).at("retries").template get<int>();
  };
  EXPECT_EQ(retries(first) + retries(second), 1);
  EXPECT_EQ(router.metric(R"(baton_retries_total{pool="chat"})"), 1);
  EXPECT_GE(router.load(*p0).consecutive_errors, 1);
  EXPECT_EQ(router.load(*p1).consecutive_errors, 0);
}

class SlowPodsTest : public FailingPodsTest {
 protected:
  SlowPodsTest() : FailingPodsTest(pool_with(std::chrono::milliseconds(200))) {}
};

TEST_F(SlowPodsTest, APrefillPodThatSaysNothingIsReplaced) {
  p0->will(Kind::kHang);
  const auto first = router.chat();
  const auto second = router.chat();
  expect_answered(first);
  expect_answered(second);
  EXPECT_EQ(p0->left, 1);
}

TEST_F(FailingPodsTest, WithoutPrefillPodsTheDecodePodPrefills) {
  p0->stop();
  p1->stop();
  const auto call = router.chat();
  expect_answered(call);
  EXPECT_EQ(call->field("x-baton-prefill"), "");
  const auto& requests = call->field("x-baton-decode") == "d0" ? d0->requests : d1->requests;
  EXPECT_FALSE(json::parse(requests.back().body).contains("kv_transfer_params"));
}

TEST_F(FailingPodsTest, WithoutAnyPodAnErrorNamesTheStage) {
  for (TestPod* pod : {p0, p1, d0, d1}) pod->stop();
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 503U);
  EXPECT_FALSE(call->field("retry-after").empty());
  EXPECT_FALSE(call->field("x-request-id").empty());
  const json error = json::parse(call->body).at("error");
  EXPECT_EQ(error.at("type"), "server_error");
  EXPECT_THAT(error.at("stage").get<std::string>(), ::testing::AnyOf("prefill", "decode"));
  EXPECT_THAT(call->body, Not(HasSubstr("127.0.0.1")));
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="unavailable",pool="chat"})"), 1);
}

TEST_F(FailingPodsTest, AFailedHandoffIsTriedAgainWithAnotherPrefillPod) {
  first_of(*d0, *d1, Script{.kind = Kind::kStatus, .status = 502, .body = kHandoffFailed});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return p0->released.size() + p1->released.size() >= 1; }));
  TestPod& first = p0->released.empty() ? *p1 : *p0;
  TestPod& second = p0->released.empty() ? *p0 : *p1;
  EXPECT_EQ(first.released[0], "/baton/leases/" + transfer_id(first.requests[0]));
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  ASSERT_EQ(second.requests.size(), 1U);
  EXPECT_NE(transfer_id(first.requests[0]), transfer_id(second.requests[0]));
  EXPECT_EQ(router.load(*d0).consecutive_errors, 0) << "the hand-off is not the decode pod's fault";
  EXPECT_GE(router.metric(R"(baton_leg_failures_total{pool="chat",stage="handoff"})"), 1);
}

TEST_F(FailingPodsTest, ADecodePodThatFailsIsReplacedFromTheSameHandoff) {
  d0->will_refuse(503, kDecodeFailed);
  const auto first = router.chat();
  const auto second = router.chat();
  expect_answered(first);
  expect_answered(second);
  ASSERT_EQ(d0->requests.size(), 1U);
  EXPECT_EQ(p0->requests.size() + p1->requests.size(), 2U) << "no prompt was computed twice";
  const std::string handed = transfer_id(d0->requests[0]);
  int taken_up = 0;
  for (const auto& request : d1->requests) taken_up += transfer_id(request) == handed ? 1 : 0;
  EXPECT_EQ(taken_up, 1);
  EXPECT_TRUE(p0->released.empty() && p1->released.empty());
}

TEST_F(FailingPodsTest, ADecodePodThatRefusesOrDiesIsReplaced) {
  d0->will(Kind::kDie);
  const auto first = router.chat();
  const auto second = router.chat();
  expect_answered(first);
  expect_answered(second);
  expect_answered(router.chat());  // now it refuses
  EXPECT_EQ(d0->requests.size(), 1U);
}

TEST(OnePair, IsTriedOnceMoreWhenItsDecodePodFails) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  router.publish();
  decode.will_refuse(503, kDecodeFailed);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill.requests.size(), 2U);
  ASSERT_EQ(decode.requests.size(), 2U);
  EXPECT_NE(transfer_id(decode.requests[0]), transfer_id(decode.requests[1]));
  EXPECT_EQ(prefill.released.size(), 1U);
}

TEST(OnePair, IsTriedOnceMoreWhenItsHandoffFailsThenDecodesAlone) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  router.publish();
  decode.will_refuse(502, kHandoffFailed);
  decode.will_refuse(502, kHandoffFailed);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill.requests.size(), 2U);
  EXPECT_EQ(prefill.released.size(), 2U);
  ASSERT_EQ(decode.requests.size(), 3U);
  EXPECT_FALSE(json::parse(decode.requests[2].body).contains("kv_transfer_params"));
}

TEST_F(FailingPodsTest, AStreamThatIsCutEndsWithAnErrorEventAndNoDone) {
  first_of(*d0, *d1, Script{.kind = Kind::kCutStream});
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U);
  EXPECT_TRUE(call->cut);
  EXPECT_THAT(call->body, Not(HasSubstr("[DONE]")));
  ASSERT_THAT(call->body, EndsWith("}}\n\n"));
  const std::size_t last = call->body.rfind("\n\ndata: ");
  ASSERT_NE(last, std::string::npos) << "the error stands in an event of its own";
  const json error = json::parse(call->body.substr(last + 8)).at("error");
  EXPECT_EQ(error.at("stage"), "decode");
  EXPECT_EQ(error.at("type"), "server_error");
  EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="cut_short",pool="chat"})"), 1);
  EXPECT_EQ(router.load(*d0).consecutive_errors + router.load(*d1).consecutive_errors, 1);
}

TEST_F(FailingPodsTest, AStreamWithoutDoneIsNoGoodEnd) {
  first_of(*d0, *d1, Script{.kind = Kind::kEndEarly});
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_TRUE(call->cut);
  EXPECT_THAT(call->body, HasSubstr("data: {\"error\":"));
}

TEST_F(FailingPodsTest, AnEnginesOwnErrorEventIsNotDoubled) {
  first_of(*d0, *d1, Script{.kind = Kind::kErrorEvent});
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_TRUE(call->cut);
  EXPECT_EQ(call->body.find("\"error\""), call->body.rfind("\"error\""));
}

TEST_F(FailingPodsTest, ABodyThatIsCutIsCutForTheClientToo) {
  first_of(*d0, *d1, Script{.kind = Kind::kCutBody});
  const auto call = router.chat(false);
  ASSERT_TRUE(router.finish(*call));
  EXPECT_TRUE(call->cut);
  EXPECT_THAT(call->body, Not(HasSubstr("data:")));
}

TEST_F(FailingPodsTest, AnAnswerThatIsCutBeforeTheClientHadAnyOfItIsAskedForAgain) {
  BrokenPod broken(router.io,
                   "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                   "content-length: 100\r\n\r\n{\"choices\":[");
  d0->move_to(broken.port());
  router.publish();
  for (int i = 0; i < 4; ++i) {
    const auto call = router.chat(false);
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_EQ(call->body, expected_body("hello"));
  }
  EXPECT_EQ(d1->requests.size(), 4U);
  EXPECT_EQ(router.load(*d0).consecutive_errors, broken.connections());
}

TEST_F(FailingPodsTest, AnAnswerThatIsFollowedByAnotherIsAFailedLeg) {
  const std::string body = expected_body("wrong");
  const std::string answer =
      "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  BrokenPod broken(router.io, answer + answer);
  d0->move_to(broken.port());
  router.publish();
  std::size_t calls = 0;
  for (; calls < 4 || (broken.connections() == 0 && calls < 100); ++calls) {
    const auto call = router.chat(false);
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->status, 200U) << call->body;
    EXPECT_EQ(call->body, expected_body("hello"));
  }
  EXPECT_EQ(d1->requests.size(), calls);
  EXPECT_GT(broken.connections(), 0);
  EXPECT_EQ(router.load(*d0).consecutive_errors, broken.connections());
}

TEST_F(FailingPodsTest, AStreamThatIsFollowedByAnAnswerIsCountedAgainstThePod) {
  const std::string events = expected_stream("hello");
  BrokenPod broken(router.io,
                   "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: " +
                       std::to_string(events.size()) + "\r\n\r\n" + events +
                       "HTTP/1.1 200 OK\r\n\r\n");
  d0->move_to(broken.port());
  router.publish();
  for (int i = 0; i < 4 || (broken.connections() == 0 && i < 100); ++i) {
    const auto call = router.chat();
    ASSERT_TRUE(router.finish(*call));
    EXPECT_EQ(call->body, events);
  }
  EXPECT_GT(broken.connections(), 0);
  EXPECT_GT(router.load(*d0).consecutive_errors, 0);
}

TEST_F(FailingPodsTest, AnAnswerThatIsNotHttpIsAFailedLeg) {
  BrokenPod broken(router.io, "220 smtp.example.org ready\r\n\r\n");
  p0->move_to(broken.port());
  router.publish();
  for (int i = 0; i < 4; ++i) expect_answered(router.chat());
  EXPECT_EQ(p1->requests.size(), 4U);
}

TEST(OnePair, AGoodStatusWithABadBodyIsAFailedLeg) {
  const std::string bad[] = {"",
                             "no JSON",
                             R"({"choices":[)",
                             R"([])",
                             R"({"usage":{}})",
                             R"({"error":{"message":"out of memory"}})",
                             R"({"choices":[],"error":{"message":"late"}})"};
  for (const std::string& body : bad) {
    for (const std::string stage : {"prefill", "decode"}) {
      Router router;
      TestPod& prefill = router.add_pod("p0", Role::kPrefill);
      TestPod& decode = router.add_pod("d0", Role::kDecode);
      router.publish();
      (stage == "prefill" ? prefill : decode).will_refuse(200, body);
      const auto call = router.chat(false);
      ASSERT_TRUE(router.finish(*call));
      EXPECT_EQ(call->status, 200U) << stage << body;
      EXPECT_EQ(call->body, expected_body("hello")) << stage << body;
      const std::string series =
          R"(baton_leg_failures_total{pool="chat",stage=")" + stage + R"("})";
      EXPECT_EQ(router.metric(series), 1) << body;
      ASSERT_TRUE(router.finish(*router.chat(false)));
      EXPECT_EQ((stage == "prefill" ? prefill : decode).connections(), 2) << stage << body;
    }
  }
}

TEST(OnePair, NothingIsAskedForOverAConnectionWhoseStreamWasNone) {
  for (const Kind kind : {Kind::kEndEarly, Kind::kErrorInside, Kind::kErrorFirst}) {
    Router router;
    router.add_pod("p0", Role::kPrefill);
    TestPod& decode = router.add_pod("d0", Role::kDecode);
    router.publish();
    decode.will(kind);
    ASSERT_TRUE(router.finish(*router.chat()));
    const auto next = router.chat();
    ASSERT_TRUE(router.finish(*next));
    EXPECT_EQ(next->body, expected_stream("hello"));
    EXPECT_EQ(decode.connections(), 2);
    ASSERT_TRUE(router.finish(*router.chat()));
    EXPECT_EQ(decode.connections(), 2) << "a good answer's connection is kept";
  }
}

TEST(OnePair, ErrorsInARowAreCountedAndForgotten) {
  Router router;
  router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  router.publish();
  for (int i = 0; i < LegPolicy::kMaxAttempts; ++i) decode.will_refuse(503, kDecodeFailed);
  const auto failed = router.chat();
  ASSERT_TRUE(router.finish(*failed));
  EXPECT_EQ(failed->status, 503U);
  EXPECT_EQ(json::parse(failed->body).at("error").at("stage"), "decode");
  EXPECT_EQ(router.load(decode).consecutive_errors, LegPolicy::kMaxAttempts);
  EXPECT_EQ(router.metric(R"(baton_retries_refused_total{pool="chat"})"), 1);
  const auto good = router.chat();
  ASSERT_TRUE(router.finish(*good));
  EXPECT_EQ(good->status, 200U);
  EXPECT_EQ(router.load(decode).consecutive_errors, 0);
}

TEST(WithoutPods, TheRequestWaitsForOne) {
  Router router;
  TestPod& prefill = router.add_pod("p0", Role::kPrefill);
  const auto call = router.chat();
  const auto waiting = [&router] {
    return router.metric(R"(baton_waiting_requests{pool="chat"})");
  };
  ASSERT_TRUE(router.run_until([&] { return waiting() == 1; }));
  router.publish();  // still no decode pod
  EXPECT_EQ(call->status, 0U);
  router.add_pod("d0", Role::kDecode);
  router.publish();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 200U) << call->body;
  EXPECT_EQ(prefill.requests.size(), 1U);
  EXPECT_EQ(waiting(), 0);
}

TEST(WithoutPods, ARequestTakesTheSlotThatAnotherGaveBack) {
  Router router;
  router.add_pod("p0", Role::kPrefill);
  TestPod& decode = router.add_pod("d0", Role::kDecode);
  decode.max_running = 1;
  router.publish();
  const auto gate = std::make_shared<Happening>(router.io);
  decode.will(Script{.gate = gate});
  const auto first = router.chat();
  ASSERT_TRUE(router.run_until([&] { return decode.open == 1; }));
  const auto second = router.chat();
  ASSERT_TRUE(
      router.run_until([&] { return router.metric(R"(baton_open_requests{pool="chat"})") == 2; }));
  gate->happen();
  ASSERT_TRUE(router.finish(*first));
  ASSERT_TRUE(router.finish(*second));  // no new snapshot came
  EXPECT_EQ(second->status, 200U) << second->body;
  EXPECT_EQ(decode.requests.size(), 2U);
}

TEST(WithoutPods, TheWaitHasAnEnd) {
  PoolConfig pool = Router::default_pool();
  pool.empty_wait = std::chrono::milliseconds(50);
  Router router(pool);
  const auto call = router.chat();
  ASSERT_TRUE(router.finish(*call));
  EXPECT_EQ(call->status, 503U);
  EXPECT_FALSE(call->field("retry-after").empty());
  EXPECT_TRUE(json::parse(call->body).at("error").contains("stage"));
  EXPECT_EQ(router.metric(R"(baton_waiting_requests{pool="chat"})"), 0);
}

}  // namespace
}  // namespace baton::orchestrator::testing
