#include "orchestrator/check/misfits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/check/check_report.h"

namespace baton::orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A pod of which all is well.
InspectedPod pod_of(const std::string& name, Role role, const std::string& host) {
  InspectedPod pod;
  pod.pool = "chat";
  pod.model = "m";
  pod.connector = "vllm-nixl";
  pod.pod.name = name;
  pod.pod.role = role;
  pod.pod.host = host;
  pod.pod.port = 8000;
  pod.pod.url = "http://" + host + ":8000";
  pod.pod.facts.engine_version = "vLLM 0.32.0";
  pod.pod.facts.block_tokens = Tokens(16);
  pod.pod.facts.max_context = Tokens(4096);
  pod.pod.facts.tensor_parallel = 2;
  pod.look.facts = pod.pod.facts;
  pod.look.served = ServedModels{{"m"}, {"sql"}};
  pod.look.metrics = EngineMetrics();
  pod.look.metrics->state.running = 3;
  if (can_prefill(role)) {
    pod.pod.facts.kv_address = host + ":5600";
    pod.probe = Result<void>();
  }
  return pod;
}

std::unexpected<Error> error(const std::string& message, ErrorCode code = ErrorCode::kUnavailable) {
  return fail(code, Stage::kRouter, message, true);
}

class MisfitsTest : public testing::Test {
 protected:
  // The only misfit; fails where there is none or another.
  Misfit only() {
    const auto misfits = find_misfits(pods_);
    EXPECT_EQ(misfits.size(), 1U) << check_text(pods_, misfits);
    return misfits.empty() ? Misfit() : misfits.front();
  }
  InspectedPod& p0() { return pods_[0]; }
  InspectedPod& d0() { return pods_[1]; }
  InspectedPod& d1() { return pods_[2]; }

  std::vector<InspectedPod> pods_ = {pod_of("p0", Role::kPrefill, "10.0.0.1"),
                                     pod_of("d0", Role::kDecode, "10.0.0.2"),
                                     pod_of("d1", Role::kDecode, "10.0.0.3")};
};

TEST_F(MisfitsTest, FindsNoneWhereAllIsWell) {
  EXPECT_THAT(find_misfits(pods_), IsEmpty());
  EXPECT_THAT(find_misfits({}), IsEmpty());
}

TEST_F(MisfitsTest, APodThatIsNotReachedIsThatOnly) {
  d0().look.health = error("connection refused");
  d0().look.metrics = error("connection refused");
  d0().look.facts.reset();
  d0().look.served.reset();
  EXPECT_THAT(only().pods, ElementsAre("d0"));
  EXPECT_EQ(only().what, "is not reached at http://10.0.0.2:8000: connection refused");
}

TEST_F(MisfitsTest, NamesTheConnectorThatAPodDoesSpeak) {
  d0().look.facts = Result<EngineFacts>(error("/version answered 404"));
  d0().look.served.reset();
  EXPECT_EQ(only().what, "/version answered 404");
  EXPECT_THAT(only().remedy, HasSubstr("a pod for the connector vllm-nixl?"));
  d0().speaks = {"sglang"};
  EXPECT_EQ(only().what, "does not speak vllm-nixl: /version answered 404");
  EXPECT_THAT(only().remedy, HasSubstr("connector sglang"));
}

TEST_F(MisfitsTest, TellsModelsAndAdaptersThatAreNotServed) {
  d0().look.served = ServedModels{{"other"}, {"sql"}};
  EXPECT_THAT(only().what, HasSubstr("serves the model other, not m"));
  d0().look.served = ServedModels{{"m"}, {}};
  d0().loras = {"sql"};
  EXPECT_THAT(only().what, HasSubstr("adapter sql"));
  d0().look.served.reset();
  EXPECT_THAT(only().what, HasSubstr("/v1/models"));
}

TEST_F(MisfitsTest, TellsAFailedProbeAndMissingMetrics) {
  p0().probe = Result<void>(error("answered without kv_transfer_params"));
  EXPECT_EQ(only().what, "its probe failed: answered without kv_transfer_params");
  p0().probe = Result<void>();
  p0().look.metrics = error("/metrics answered 404");
  EXPECT_EQ(only().what, "tells no load: /metrics answered 404");
  EXPECT_THAT(only().remedy, HasSubstr("--enable-metrics"));
}

TEST_F(MisfitsTest, GathersThePodsThatCannotExchangeKv) {
  d0().pod.facts.engine_version = d1().pod.facts.engine_version = "vLLM 0.31.0";
  EXPECT_THAT(only().pods, ElementsAre("p0", "d0", "d1"));
  EXPECT_EQ(only().what, "cannot exchange KV: vLLM 0.32.0 and vLLM 0.31.0");
  d0().pod.facts = d1().pod.facts = p0().pod.facts;
  d1().pod.facts.block_tokens = Tokens(32);
  EXPECT_THAT(only().pods, ElementsAre("p0", "d1"));
  EXPECT_EQ(only().what, "cannot exchange KV: blocks of 16 and of 32 tokens");
}

TEST_F(MisfitsTest, PodsOfDifferentPoolsNeedNotFit) {
  d1().pool = "other";
  d1().pod.facts.engine_version = "SGLang 1";
  d1().pod.facts.max_context = Tokens(1);
  EXPECT_THAT(find_misfits(pods_), IsEmpty());
}

TEST_F(MisfitsTest, ASideChannelOnLoopbackIsReachedOnOneHostOnly) {
  for (const char* address : {"localhost:5600", "127.0.0.1:5600", "[::1]:5600"}) {
    p0().pod.facts.kv_address = address;
    EXPECT_THAT(only().what, HasSubstr(std::string("hands over at ") + address));
    EXPECT_THAT(only().remedy, HasSubstr("VLLM_NIXL_SIDE_CHANNEL_HOST"));
  }
  for (InspectedPod& pod : pods_) pod.pod.host = "10.0.0.1";
  d0().pod.port = 8001;
  d1().pod.port = 8002;
  EXPECT_THAT(find_misfits(pods_), IsEmpty());
}

TEST_F(MisfitsTest, TellsUnlikeContextsAndAPodThatIsListedTwice) {
  d1().pod.facts.max_context = Tokens(2048);
  EXPECT_THAT(only().pods, ElementsAre("d1"));
  EXPECT_THAT(only().what, HasSubstr("at most 2048 tokens, other pods of the pool 4096"));
  d1().pod.facts.max_context = Tokens(4096);
  d0().pod.facts.engine_id = d1().pod.facts.engine_id = "e";
  EXPECT_THAT(only().pods, ElementsAre("d0", "d1"));
  EXPECT_EQ(only().what, "are one process, engine e");
}

TEST_F(MisfitsTest, PrintsATableAndALineForEachMisfit) {
  EXPECT_EQ(
      check_text(pods_, {}),
      "pool  pod  role     reached  engine       model  block  context  tp  kv at          load"
      "                         adapters  probe\n"
      "chat  p0   prefill  yes      vLLM 0.32.0  m      16     4096     2   10.0.0.1:5600  "
      "3 running, 0 waiting, 0% KV  sql       good\n"
      "chat  d0   decode   yes      vLLM 0.32.0  m      16     4096     2   -              "
      "3 running, 0 waiting, 0% KV  sql       -\n"
      "chat  d1   decode   yes      vLLM 0.32.0  m      16     4096     2   -              "
      "3 running, 0 waiting, 0% KV  sql       -\n"
      "\nall fits\n");
  d0().look.health = error("took too long", ErrorCode::kTimeout);
  const auto misfits = find_misfits(pods_);
  const std::string text = check_text(pods_, misfits);
  EXPECT_THAT(text, HasSubstr("  hangs  "));
  EXPECT_THAT(text, HasSubstr("\nd0: is not reached at http://10.0.0.2:8000: took too long; is "));
  const auto json = nlohmann::json::parse(check_json(pods_, misfits));
  EXPECT_EQ(json["fits"], false);
  EXPECT_EQ(json["pods"][0]["engine"], "vLLM 0.32.0");
  EXPECT_EQ(json["pods"][0]["load"]["running"], 3);
  EXPECT_EQ(json["pods"][1]["reached"], false);
  EXPECT_EQ(json["misfits"][0]["pods"], nlohmann::json({"d0"}));
}

}  // namespace
}  // namespace baton::orchestrator
