// Clients that leave, at every step of a request.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using Kind = Script::Kind;

class LeavingClientsTest : public ::testing::Test {
 protected:
  LeavingClientsTest() {
    prefill = &router.add_pod("p0", Role::kPrefill);
    decode = &router.add_pod("d0", Role::kDecode);
  }
  void leave(Call& call) { call.leave.emit(asio::cancellation_type::terminal); }
  void expect_over(Call& call) {
    ASSERT_TRUE(router.finish(call));
    ASSERT_TRUE(router.run_until([&] { return prefill->open + decode->open == 0; }));
    EXPECT_EQ(router.metric(R"(baton_requests_total{outcome="client_left",pool="chat"})"), 1);
    EXPECT_EQ(router.metric(R"(baton_open_requests{pool="chat"})"), 0);
  }

  Router router;
  TestPod* prefill;
  TestPod* decode;
};

TEST_F(LeavingClientsTest, BothLegsStopAndTheLeaseIsReleased) {
  router.publish();
  prefill->will(Kind::kHang);
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1 && decode->open == 1; }));
  leave(*call);
  expect_over(*call);
  EXPECT_EQ(prefill->left, 1);
  EXPECT_EQ(decode->left, 1);
  ASSERT_EQ(prefill->released.size(), 1U);
  EXPECT_EQ(router.metric(R"(baton_lease_releases_total{pool="chat",result="ok"})"), 1);
}

TEST_F(LeavingClientsTest, ASealedLeaseIsReleased) {
  router.publish();
  decode->will(Kind::kHang);
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] {
    return prefill->requests.size() == 1 && prefill->open == 0 && decode->open == 1 &&
           router.metric(R"(baton_leg_seconds_count{leg="prefill",pool="chat"})") == 1;
  }));
  leave(*call);
  expect_over(*call);
  EXPECT_EQ(decode->left, 1);
  EXPECT_EQ(prefill->released.size(), 1U);
}

TEST_F(LeavingClientsTest, ADecodeHeadThatWaitsForPrefillIsDropped) {
  router.publish();
  prefill->will(Kind::kHang);
  decode->will(Script{.kind = Kind::kFlood, .flood_bytes = 64 << 20});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until(
      [&] { return router.metric(R"(baton_leg_seconds_count{leg="decode",pool="chat"})") == 1; }));
  leave(*call);
  expect_over(*call);
  EXPECT_EQ(prefill->left, 1);
  EXPECT_EQ(decode->left, 1);
}

TEST_F(LeavingClientsTest, InTheStreamTheDecodePodIsStopped) {
  router.publish();
  decode->will(Script{.kind = Kind::kFlood, .flood_bytes = std::size_t{1} << 40});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return call->body.size() > 100000; }));
  EXPECT_EQ(router.load(*prefill).in_flight, 0) << "the prefill pod is done with it";
  EXPECT_EQ(router.load(*decode).in_flight, 1);
  leave(*call);
  expect_over(*call);
  EXPECT_EQ(decode->left, 1);
  EXPECT_TRUE(prefill->released.empty()) << "the decode pod has acknowledged them";
}

TEST_F(LeavingClientsTest, AnIdleStreamIsStoppedToo) {
  router.publish();
  const auto gate = std::make_shared<Happening>(router.io);
  decode->will(Kind::kHang);
  prefill->will(Script{.gate = gate});
  const auto call = router.chat();
  ASSERT_TRUE(router.run_until([&] { return prefill->open == 1 && decode->open == 1; }));
  leave(*call);
  expect_over(*call);
}

TEST_F(LeavingClientsTest, WaitingForAPodEnds) {
  const auto call = router.chat();
  ASSERT_TRUE(
      router.run_until([&] { return router.metric(R"(baton_open_requests{pool="chat"})") == 1; }));
  leave(*call);
  expect_over(*call);
  router.publish();
  EXPECT_TRUE(prefill->requests.empty());
}

}  // namespace
}  // namespace baton::orchestrator::testing
