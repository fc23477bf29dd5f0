#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/pod/pod_harness.h"

namespace baton::adapters {
namespace {

// A prefill pod, a decode pod and one of role both, driven as a router drives them.
class PodHandoffTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = new MadeModelFiles();
    prefill_ = new RunningPod(options("p0", Role::kPrefill));
    decode_ = new RunningPod(options("d0", Role::kDecode));
    both_ = new RunningPod(options("b0", Role::kBoth));
    to_prefill_ = new PodCaller((*prefill_)->port());
    to_decode_ = new PodCaller((*decode_)->port());
    to_both_ = new PodCaller((*both_)->port());
  }
  static void TearDownTestSuite() {
    delete to_prefill_;
    delete to_decode_;
    delete to_both_;
    delete prefill_;
    delete decode_;
    delete both_;
    delete made_;
  }
  static PodOptions options(const std::string& name, Role role) {
    PodOptions out;
    out.name = name;
    out.served_model_names = {"tiny"};
    out.engine.model_path = made_->files.model_path;
    out.engine.role = role;
    out.engine.max_context = Tokens(4096);
    return out;
  }
  static Json completion(std::size_t prompt_tokens, int salt) {
    std::vector<int> ids(prompt_tokens);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int>((i * 37 + static_cast<std::size_t>(salt) * 101) % 1000);
    }
    return {{"model", "tiny"},
            {"prompt", ids},
            {"temperature", 0},
            {"max_tokens", 24},
            {"ignore_eos", true}};
  }
  static std::string next_transfer() {
    static int count = 0;
    return Id128(0x1234, static_cast<std::uint64_t>(++count)).str();
  }
  static Json producer_leg(Json body, const std::string& transfer) {
    body["max_tokens"] = 1;
    body["kv_transfer_params"] = {{"baton", {{"role", "producer"}, {"transfer_id", transfer}}}};
    return body;
  }
  static Json consumer_leg(Json body, const std::string& transfer) {
    const Json facts = to_prefill_->get("/baton/facts").json();
    body["kv_transfer_params"] = {{"baton",
                                   {{"role", "consumer"},
                                    {"transfer_id", transfer},
                                    {"kv_address", facts["kv_address"]},
                                    {"engine_id", facts["engine_id"]},
                                    {"epoch", facts["epoch"]}}}};
    return body;
  }
  static bool all_quiet() {
    return eventually([] { return prefill_->quiet() && decode_->quiet(); });
  }
  static inline MadeModelFiles* made_ = nullptr;
  static inline RunningPod *prefill_ = nullptr, *decode_ = nullptr, *both_ = nullptr;
  static inline PodCaller *to_prefill_ = nullptr, *to_decode_ = nullptr, *to_both_ = nullptr;
};

TEST_F(PodHandoffTest, SplitSaysWhatOnePodSays) {
  for (const std::size_t length : {1U, 2U, 64U, 65U, 300U, 1000U}) {
    const Json request = completion(length, static_cast<int>(length));
    const std::string transfer = next_transfer();
    auto decode =
        to_decode_->begin("POST", "/v1/completions", consumer_leg(request, transfer).dump());
    const HttpAnswer prefill =
        to_prefill_->post("/v1/completions", producer_leg(request, transfer));
    ASSERT_EQ(prefill.status, 200U) << prefill.body;
    const Json offered = prefill.json()["kv_transfer_params"]["baton"];
    EXPECT_EQ(offered["transfer_id"], transfer);
    EXPECT_EQ(offered["engine_id"], "p0");
    EXPECT_EQ(offered["prompt_tokens"], length);
    EXPECT_EQ(prefill.json()["usage"]["completion_tokens"], 0);

    const HttpAnswer answer = decode.get();
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const HttpAnswer alone = to_both_->post("/v1/completions", request);
    EXPECT_EQ(answer.json()["choices"][0]["text"], alone.json()["choices"][0]["text"]) << length;
    EXPECT_EQ(answer.json()["usage"], alone.json()["usage"]);
    const Json timing = Json::parse(answer.timing);
    if (length > 1) {
      EXPECT_GT(timing["kv_bytes"].get<int>(), 0) << length;
      EXPECT_FALSE(timing["transport"].get<std::string>().empty());
    }
    EXPECT_TRUE(all_quiet()) << length;
  }
}

TEST_F(PodHandoffTest, AStreamNeedsNoWholePrefillAnswer) {
  Json request = completion(700, 3);
  const std::string transfer = next_transfer();
  auto prefill =
      to_prefill_->begin("POST", "/v1/completions", producer_leg(request, transfer).dump());
  Json streamed = consumer_leg(request, transfer);
  streamed["stream"] = true;
  const HttpAnswer answer = to_decode_->post("/v1/completions", streamed);
  ASSERT_EQ(answer.status, 200U) << answer.body;
  EXPECT_EQ(answer.events().back(), "[DONE]");
  EXPECT_EQ(prefill.get().status, 200U);
  EXPECT_TRUE(all_quiet());
}

TEST_F(PodHandoffTest, AReleasedLeaseIsAHandoffError) {
  const Json request = completion(200, 4);
  const std::string transfer = next_transfer();
  ASSERT_EQ(to_prefill_->post("/v1/completions", producer_leg(request, transfer)).status, 200U);
  EXPECT_EQ(to_prefill_->call("DELETE", "/baton/leases/" + transfer).status, 204U);
  EXPECT_EQ(to_prefill_->call("DELETE", "/baton/leases/" + transfer).status, 204U);
  EXPECT_TRUE(all_quiet());
  const HttpAnswer answer = to_decode_->post("/v1/completions", consumer_leg(request, transfer));
  EXPECT_TRUE(answer.status == 502 || answer.status == 503) << answer.status;
  const Json error = answer.json()["error"];
  EXPECT_EQ(error["type"], "handoff_error");
  EXPECT_EQ(error["stage"], "handoff");
  EXPECT_EQ(error["retryable"], true);
}

TEST_F(PodHandoffTest, AnotherEpochIsRefused) {
  const Json request = completion(200, 5);
  const std::string transfer = next_transfer();
  Json leg = consumer_leg(request, transfer);
  leg["kv_transfer_params"]["baton"]["epoch"] = 1;
  const HttpAnswer answer = to_decode_->post("/v1/completions", leg);
  EXPECT_EQ(answer.status, 502U) << answer.body;
  EXPECT_EQ(answer.json()["error"]["code"], "stale");
}

TEST_F(PodHandoffTest, RolesRefuseTheOtherLeg) {
  const Json request = completion(20, 6);
  EXPECT_EQ(to_decode_->post("/v1/completions", producer_leg(request, next_transfer())).status,
            501U);
  EXPECT_EQ(to_prefill_->post("/v1/completions", consumer_leg(request, next_transfer())).status,
            501U);
  EXPECT_EQ(to_prefill_->call("DELETE", "/baton/leases/xyz").status, 400U);
}

TEST_F(PodHandoffTest, DrainingFinishesWhatItHas) {
  RunningPod pod(options("dr", Role::kBoth));
  PodCaller caller(pod->port());
  auto answer = caller.begin("POST", "/v1/completions", completion(1500, 8).dump());
  ASSERT_TRUE(eventually([&] { return pod->stats().running + pod->stats().waiting > 0; }));
  std::promise<void> drained;
  pod.thread().run([&] { pod->drain([&] { drained.set_value(); }); });
  EXPECT_EQ(answer.get().status, 200U);
  EXPECT_EQ(drained.get_future().wait_for(kPodTestLimit), std::future_status::ready);
  EXPECT_EQ(caller.get("/health").status, 0U);  // nobody listens any more
}

TEST(PodStartTest, SaysWhatIsWrong) {
  const MadeModelFiles made;
  asio::io_context io;
  PodOptions options;
  options.engine.model_path = made.folder.path() + "/none.gguf";
  const auto missing = Pod::start(io, options);
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().message.find("none.gguf"), std::string::npos);

  options.engine.model_path = made.files.model_path;
  RunningPod first(options);
  options.port = first->port();
  const auto taken = Pod::start(io, options);
  ASSERT_FALSE(taken.has_value());
  EXPECT_NE(taken.error().message.find("address already in use"), std::string::npos);
}

}  // namespace
}  // namespace baton::adapters
