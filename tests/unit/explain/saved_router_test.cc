#include "orchestrator/explain/saved_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/admin/plan_answer.h"
#include "orchestrator/admin/pods_json.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

constexpr const char* kConfig = R"(
pools:
  - name: chat
    model: m
    aliases: [mm]
    slo: {ttft_ms: 900}
    prefill:
      - {name: p0, url: "http://127.0.0.1:9"}
      - {name: p1, url: "http://127.0.0.1:10"}
    decode: [{name: d0, url: "http://127.0.0.1:11", labels: {zone: "a\"b"}, max_running: 7}]
  - name: other
    model: o
    split: never
    both: [{name: b0, url: "http://127.0.0.1:12"}]
)";

// A router with something learned and something in flight, and its answers.
class SavedRouterTest : public testing::Test {
 protected:
  SavedRouterTest()
      : context_(io_, std::make_shared<const Config>(std::move(*parse_config(kConfig))), tables()) {
    std::uint32_t index = 10;
    for (const PoolConfig& pool : context_.config().pools) {
      auto snapshot = std::make_shared<Snapshot>();
      snapshot->pool = pool.name;
      for (Pod& pod : pool.pods()) {
        auto entry = std::make_shared<PodEntry>();
        entry->pod = std::move(pod);
        entry->pod.facts.kv_address = "127.0.0.1:1";
        entry->pod.facts.layout_hash = 0xF123456789ABCDEF;
        entry->pod.facts.bytes_per_token = Bytes(131072);
        entry->pod.facts.served = {"m", "o"};
        entry->state.health = Health::kHealthy;
        entry->state.observed_at = Clock::now();
        entry->index = index++;
        snapshot->pods.push_back(std::move(entry));
      }
      snapshots_.push_back(snapshot);
      context_.set_snapshot(snapshot);
    }
    queue_ = LoadTicket::for_prefill(loads_.of(10), Tokens(5000));
    begun_ = LoadTicket::for_decode(loads_.of(12), Tokens(90'000));
    begun_.decode_begins();
    coming_ = LoadTicket::for_decode(loads_.of(12), Tokens(30'000));
    for (int i = 0; i < 50; ++i) {
      latencies_.of("chat").observe(LatencyModel::PrefillSeen{11, 1, 1000, 1e6, 0.04});
      latencies_.of("chat").observe(LatencyModel::StepSeen{12, 4, 4000, 100, 0.02});
    }
    sizes_.of("chat").bytes_per_token = 2.5;
    sizes_.of("chat").output_tokens = 60;
  }
  SharedTables tables() { return {loads_, prefixes_, latencies_, metrics_, nullptr, &sizes_}; }
  std::string saved() {
    return saved_router_json(config_to_json(context_.config()),
                             pods_json(snapshots_, loads_, Clock::now(), {&latencies_, &sizes_}));
  }

  asio::io_context io_{1};
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  LatencyModels latencies_;
  LearnedSizesOfPools sizes_;
  Metrics metrics_;
  ThreadContext context_;
  std::vector<std::shared_ptr<const Snapshot>> snapshots_;
  LoadTicket queue_;
  LoadTicket begun_;
  LoadTicket coming_;
};

TEST_F(SavedRouterTest, PlansAsTheRouterDid) {
  const auto router = SavedRouter::read(saved());
  ASSERT_TRUE(router) << router.error().message;
  const std::string text(6000, 'x');
  for (const std::string& body : {R"({"model":"mm","prompt":")" + text + "\"}",
                                  R"({"model":"o","prompt":")" + text + "\"}"}) {
    const AdminResponse live = plan_for_body(context_, body);
    const AdminResponse offline = plan_for_body((*router)->context(), body);
    ASSERT_EQ(live.status, 200U) << live.body;
    ASSERT_EQ(offline.status, 200U) << offline.body;
    const Json then = Json::parse(live.body);
    const Json now = Json::parse(offline.body);
    EXPECT_EQ(now["kind"], then["kind"]);
    EXPECT_EQ(now["prefill"], then["prefill"]);
    EXPECT_EQ(now["decode"], then["decode"]);
    EXPECT_EQ(now["prompt_tokens"], then["prompt_tokens"]);
    const double ttft = then["ttft_ms"];
    EXPECT_NEAR(now["ttft_ms"].get<double>(), ttft, 0.01 * ttft);
    EXPECT_NEAR(now["tpot_ms"].get<double>(), then["tpot_ms"].get<double>(), 0.1);
    EXPECT_NEAR(now["verdict"]["tpot_ms"].get<double>(), then["verdict"]["tpot_ms"].get<double>(),
                0.1);
    EXPECT_EQ(now["alternatives"].size(), then["alternatives"].size());
  }
  EXPECT_EQ(Json::parse(plan_for_body(context_, R"({"model":"m","prompt":")" + text + "\"}").body)
                .at("prompt_tokens"),
            2400);
}

TEST_F(SavedRouterTest, RefusesWhatIsNoSavedRouter) {
  const Json good = Json::parse(saved());
  const auto message = [](const std::string& text) {
    const auto router = SavedRouter::read(text);
    return router ? std::string("good") : router.error().message;
  };
  EXPECT_THAT(message("{"), HasSubstr("--save"));
  EXPECT_THAT(message("{}"), HasSubstr("--save"));
  Json bad = good;
  bad["baton_explain"] = 99;
  EXPECT_THAT(message(bad.dump()), HasSubstr("another version"));
  bad = good;
  bad["config"]["pools"][0]["split"] = "perhaps";
  EXPECT_THAT(message(bad.dump()), HasSubstr("not valid"));
  bad = good;
  bad["pods"][0]["pods"].erase(1);
  EXPECT_THAT(message(bad.dump()), HasSubstr("lacks the pod p1"));
  bad = good;
  bad["pods"].erase(1);
  EXPECT_THAT(message(bad.dump()), HasSubstr("lacks the pods of pool other"));
  bad = good;
  bad["pods"][0]["pods"][0]["load"]["in_flight"] = "many";
  EXPECT_THAT(message(bad.dump()), HasSubstr("--save"));
}

}  // namespace
}  // namespace baton::orchestrator
