#include "adapters/engines/mock/faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/mock/mock_harness.h"

namespace baton::adapters::mock::testing {
namespace {

using ::testing::HasSubstr;

TEST(Faults, AreReadFromTextAndFromJson) {
  const auto read = parse_faults("status=503@prefill:2%0.5,hang");
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ(read->at(0).value, 503);
  EXPECT_EQ(read->at(0).leg, Leg::kPrefill);
  EXPECT_EQ(read->at(0).count, 2);
  EXPECT_EQ(read->at(0).probability, 0.5);
  EXPECT_EQ(read->at(1).kind, FaultKind::kHang);
  const auto json = read_faults(Json::parse(
      R"(["reset@decode",{"kind":"slow_headers","value":20,"leg":"plain","count":1}])"));
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(json->at(1).value, 20);
  for (const char* wrong : {"fire", "status", "status=200", "hang@both", "hang:x", "hang%2",
                            "slow_headers", "status=x"}) {
    const auto refused = parse_faults(wrong);
    ASSERT_FALSE(refused.has_value()) << wrong;
    EXPECT_THAT(refused.error().message, HasSubstr("kinds: status, reset, hang")) << wrong;
  }
}

TEST(Faults, HappenAsOftenAsTheyMay) {
  Faults faults(1);
  faults.set(*parse_faults("status=500@prefill:2"));
  EXPECT_FALSE(faults.take_for_answer(Leg::kDecode).has_value());
  EXPECT_TRUE(faults.take_for_answer(Leg::kPrefill).has_value());
  EXPECT_TRUE(faults.take_for_answer(Leg::kPrefill).has_value());
  EXPECT_FALSE(faults.take_for_answer(Leg::kPrefill).has_value());
  faults.set(*parse_faults("hang%0.3"));
  int happened = 0;
  for (int i = 0; i < 1000; ++i) happened += faults.take_for_answer(Leg::kPlain).has_value();
  EXPECT_NEAR(happened, 300, 60);
}

class FaultOnTheWire : public ::testing::Test {
 protected:
  std::shared_ptr<Call> spoiled(const std::string& fault, bool stream = false) {
    street.set_faults(pod, fault + ":1");
    Json body = completion("Hello.");
    body["stream"] = stream;
    return street.post(pod, "/v1/completions", body);
  }
  Street street;
  MockPod& pod = street.add({});
};

TEST_F(FaultOnTheWire, StatusAnswersIt) {
  const auto call = spoiled("status=503");
  EXPECT_EQ(call->status, 503U);
  EXPECT_EQ(call->error_message(), "scripted fault");
  EXPECT_EQ(street.post(pod, "/v1/completions", completion("Hello."))->status, 200U);
}

TEST_F(FaultOnTheWire, NoAnswerAtAll) {
  // A client tries again once where a kept connection ends without a byte.
  for (const char* fault : {"reset", "nothing", "garbage"}) {
    street.set_faults(pod, std::string(fault) + ":2");
    const auto call = street.post(pod, "/v1/completions", completion("Hello."));
    EXPECT_EQ(call->status, 0U) << fault;
    EXPECT_TRUE(call->cut) << fault;
  }
}

TEST_F(FaultOnTheWire, HangsUntilTheClientLeaves) {
  street.set_faults(pod, "hang:1");
  const auto call = street.begin(pod, "POST", "/v1/completions", dump(completion("Hello.")),
                                 {{"content-type", "application/json"}});
  EXPECT_TRUE(street.run_until([&] { return pod.parts().open_requests == 1; }));
  call->leave.emit(http::asio::cancellation_type::terminal);
  EXPECT_TRUE(street.run_until([&] { return pod.parts().open_requests == 0; }));
  EXPECT_EQ(call->status, 0U);
}

TEST_F(FaultOnTheWire, HalfOfAnAnswer) {
  const auto half = spoiled("half_close");
  EXPECT_EQ(half->status, 200U);
  EXPECT_TRUE(half->cut);
  const auto json = spoiled("half_json");
  EXPECT_EQ(json->status, 200U);
  EXPECT_FALSE(json->cut);
  EXPECT_TRUE(json->json().is_discarded());
  EXPECT_TRUE(spoiled("half_json", true)->cut);
}

TEST_F(FaultOnTheWire, AnswersThatAreOddInAnotherWay) {
  EXPECT_EQ(spoiled("error_in_200")->status, 200U);
  EXPECT_THAT(spoiled("error_in_200", true)->body, HasSubstr("\"code\":500"));
  const auto cut = spoiled("cut_utf8", true);
  EXPECT_TRUE(cut->cut);
  EXPECT_THAT(cut->body, ::testing::EndsWith("\xe2\x82"));
  const auto big = spoiled("chunk_10mib", true);
  EXPECT_GT(big->body.size(), 10U << 20);
  EXPECT_FALSE(big->cut);
  EXPECT_EQ(spoiled("two_responses")->status, 200U);
  EXPECT_EQ(spoiled("idle_close")->status, 200U);
  EXPECT_EQ(spoiled("slow_headers=20")->status, 200U);
}

TEST_F(FaultOnTheWire, DiesAfterTheAnswer) {
  EXPECT_EQ(spoiled("die_after_prefill")->status, 200U);
  EXPECT_TRUE(street.run_until([&] { return street.get(pod, "/health")->status == 0; }));
}

TEST_F(FaultOnTheWire, WrongFaultsAreRefusedAndChangeNothing) {
  const auto call = street.post(pod, "/debug/faults", {{"faults", "fire"}});
  EXPECT_EQ(call->status, 400U);
  EXPECT_THAT(call->body, HasSubstr("kinds: status"));
}

}  // namespace
}  // namespace baton::adapters::mock::testing
