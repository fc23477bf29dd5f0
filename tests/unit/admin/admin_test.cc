#include "orchestrator/admin/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "orchestrator/admin/query.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    auto config = parse_config(R"(
pools:
  - name: chat
    model: m
    aliases: [mm]
    prefill: [{name: p0, url: "http://127.0.0.1:9"}]
    decode: [{name: d0, url: "http://127.0.0.1:9", labels: {zone: "a\"b"}}]
)");
    context_ = std::make_shared<ThreadContext>(
        io_, std::make_shared<const Config>(std::move(*config)), shared_);
    registry_.apply(std::make_shared<const Config>(context_->config()));
    admin_.set_context(context_);
    context_->set_snapshot(usable_pods());
  }

  // As the registry tells them once both pods have answered.
  static std::shared_ptr<const Snapshot> usable_pods() {
    auto snapshot = std::make_shared<Snapshot>();
    snapshot->pool = "chat";
    for (const Role role : {Role::kPrefill, Role::kDecode}) {
      auto entry = std::make_shared<PodEntry>();
      entry->pod.name = role == Role::kPrefill ? "p0" : "d0";
      entry->pod.role = role;
      entry->pod.facts.model_hash = "x";
      entry->pod.facts.kv_address = "127.0.0.1:1";
      entry->state.health = Health::kHealthy;
      entry->index = role == Role::kPrefill ? 0 : 1;
      snapshot->pods.push_back(std::move(entry));
    }
    return snapshot;
  }

  AdminResponse ask(std::string method, std::string target, std::string body = "") {
    http::Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::move(body);
    return admin_.answer(request);
  }

  asio::io_context io_{1};
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  Metrics metrics_;
  LatencyModels latencies_;
  LearnedSizesOfPools sizes_;
  SharedTables shared_{loads_, prefixes_, latencies_, metrics_, nullptr, &sizes_};
  PodRegistry registry_{io_, loads_, prefixes_, latencies_, metrics_};
  int drains_ = 0;
  int scrapes_ = 0;
  Admin admin_{registry_,
               shared_,
               {.drain = [this] { ++drains_; }, .before_scrape = [this] { ++scrapes_; }}};
  std::shared_ptr<ThreadContext> context_;
};

TEST_F(AdminTest, ExposesMetricsWithBuildInfoAndLoad) {
  loads_.of(registry_.snapshots()[0]->pods[1]->index).in_flight = 4;
  const AdminResponse response = ask("GET", "/metrics");
  EXPECT_EQ(response.status, 200U);
  EXPECT_THAT(response.content_type, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(response.body, HasSubstr("baton_build_info{"));
  EXPECT_THAT(response.body, HasSubstr("baton_requests_in_flight{pod=\"d0\",pool=\"chat\"} 4"));
  EXPECT_THAT(response.body, HasSubstr("process_resident_memory_bytes "));
  EXPECT_EQ(scrapes_, 1);
}

TEST_F(AdminTest, IsLiveAndNotReadyBeforeItsPodsAre) {
  EXPECT_EQ(ask("GET", "/livez").status, 200U);
  EXPECT_EQ(ask("GET", "/readyz").status, 503U);
  EXPECT_EQ(ask("GET", "/readyz?verbose").status, 503U);
}

TEST_F(AdminTest, IsNotReadyWhileDraining) {
  EXPECT_EQ(ask("POST", "/drain").status, 202U);
  EXPECT_EQ(drains_, 1);
  admin_.set_draining();
  EXPECT_THAT(ask("GET", "/readyz").body, HasSubstr("draining"));
  EXPECT_EQ(ask("GET", "/livez").status, 200U);
}

TEST_F(AdminTest, ListsPods) {
  const Json pods = Json::parse(ask("GET", "/pods").body)["pools"][0]["pods"];
  ASSERT_EQ(pods.size(), 2U);
  EXPECT_EQ(pods[0]["name"], "p0");
  EXPECT_EQ(pods[0]["role"], "prefill");
  EXPECT_EQ(pods[0]["health"], "unknown");
  EXPECT_EQ(pods[0]["in_flight"], 0);
  EXPECT_EQ(pods[1]["labels"]["zone"], "a\"b");
}

TEST_F(AdminTest, DrainsPodsByName) {
  EXPECT_EQ(ask("POST", "/pods/p0/drain").status, 200U);
  EXPECT_EQ(Json::parse(ask("GET", "/pods").body)["pools"][0]["pods"][0]["health"], "draining");
  EXPECT_EQ(ask("POST", "/pods/p0/undrain").status, 200U);
  EXPECT_EQ(Json::parse(ask("GET", "/pods").body)["pools"][0]["pods"][0]["health"], "unknown");
  EXPECT_EQ(ask("POST", "/pods/nobody/drain").status, 404U);
  EXPECT_EQ(ask("POST", "/pods//drain").status, 404U);
  EXPECT_EQ(ask("POST", "/pods/a/b/drain").status, 404U);
}

TEST_F(AdminTest, ExplainsAPlanAndSendsNothing) {
  for (const char* model : {"m", "mm"}) {
    const AdminResponse response = ask("GET", std::string("/plan?tokens=5000&model=") + model);
    ASSERT_EQ(response.status, 200U) << response.body;
    EXPECT_THAT(response.body, HasSubstr("\"p0\""));
    EXPECT_THAT(response.body, HasSubstr("\"d0\""));
  }
  const AdminResponse chat =
      ask("POST", "/plan", R"({"model":"m","messages":[{"role":"user","content":"secret"}]})");
  EXPECT_EQ(chat.status, 200U) << chat.body;
  EXPECT_THAT(chat.body, testing::Not(HasSubstr("secret")));
  EXPECT_EQ(loads_.of(0).in_flight, 0);
}

TEST_F(AdminTest, PlansByWhatIsInFlightAndLearnedAndChangesNothing) {
  const std::string body = R"({"model":"m","prompt":")" + std::string(4000, 'x') + "\"}";
  const Json before = Json::parse(ask("POST", "/plan", body).body);
  EXPECT_EQ(before["prompt_tokens"], 1000);
  const auto queue = LoadTicket::for_prefill(loads_.of(0), Tokens(4000));
  sizes_.of("chat").bytes_per_token = 2.0;
  for (int i = 0; i < 2; ++i) {
    const Json after = Json::parse(ask("POST", "/plan", body).body);
    EXPECT_EQ(after["prompt_tokens"], 2000);
    const Json& terms = after["prefill_candidates"][0]["terms"];
    EXPECT_GT(terms["queue"].get<double>(), 100.0);
    EXPECT_EQ(after["prefill_cached"], 0);
  }
  EXPECT_EQ(loads_.of(0).in_flight, 1);
  EXPECT_EQ(loads_.of(1).in_flight, 0);
  EXPECT_EQ(prefixes_.elements(), 0U);
}

TEST_F(AdminTest, SaysWhatWouldChangeThePlan) {
  const Json plan = Json::parse(ask("GET", "/plan?tokens=5000&model=m").body);
  ASSERT_EQ(plan["alternatives"].size(), 1U) << "there is one pod of each stage";
  EXPECT_EQ(plan["alternatives"][0]["differs"], "kind");
  EXPECT_THAT(plan["alternatives"][0]["what"].get<std::string>(),
              HasSubstr(plan["kind"] == "split" ? "decode-only on d0" : "p0 and d0"));
  EXPECT_GT(plan["cost_ms"].get<double>(), 0.0);
  EXPECT_TRUE(plan["terms"].contains("queue"));
}

TEST_F(AdminTest, NamesTheStageWhereNoPodCanTakeIt) {
  auto snapshot = std::make_shared<Snapshot>(*usable_pods());
  snapshot->pods.pop_back();
  context_->set_snapshot(snapshot);
  const AdminResponse response = ask("GET", "/plan?tokens=5000&model=m");
  EXPECT_EQ(response.status, 503U);
  EXPECT_EQ(Json::parse(response.body)["error"]["stage"], "decode") << response.body;
}

TEST_F(AdminTest, RefusesPlansForBadRequests) {
  EXPECT_EQ(ask("GET", "/plan").status, 400U);
  EXPECT_EQ(ask("GET", "/plan?model=m&tokens=0").status, 400U);
  EXPECT_EQ(ask("GET", "/plan?model=m&tokens=1x").status, 400U);
  EXPECT_EQ(ask("GET", "/plan?model=m&tokens=99999999999999999999").status, 400U);
  EXPECT_EQ(ask("GET", "/plan?model=nobody&tokens=5").status, 404U);
  EXPECT_EQ(ask("POST", "/plan", "{").status, 400U);
  EXPECT_EQ(ask("POST", "/plan", "[]").status, 400U);
  EXPECT_EQ(ask("POST", "/plan", R"({"model":"m"})").status, 400U);
  const AdminResponse unknown = ask("POST", "/plan", R"({"model":"nobody","prompt":"x"})");
  EXPECT_EQ(unknown.status, 404U);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "model_not_found");
  const AdminResponse wrong = ask("POST", "/plan", R"({"model":"m","prompt":"x","max_tokens":0})");
  EXPECT_EQ(wrong.status, 400U);
  EXPECT_EQ(Json::parse(wrong.body)["error"]["param"], "max_tokens");
}

TEST_F(AdminTest, ShowsTheConfigurationInForce) {
  EXPECT_EQ(Json::parse(ask("GET", "/config").body)["pools"][0]["model"], "m");
}

TEST_F(AdminTest, AnswersOtherPathsAndMethodsAsJson) {
  EXPECT_EQ(ask("GET", "/").status, 404U);
  EXPECT_EQ(Json::parse(ask("GET", "/nowhere").body)["error"]["code"], "not_found");
  const AdminResponse wrong = ask("DELETE", "/plan");
  EXPECT_EQ(wrong.status, 405U);
  EXPECT_THAT(wrong.fields, ElementsAre(Pair("allow", "GET, POST")));
  EXPECT_EQ(ask("GET", "/drain").status, 405U);
}

TEST(ParseQuery, DecodesAndRefusesWhatIsMalformed) {
  EXPECT_THAT(*parse_query("/plan?model=a%20b%2Fc&x=1+2&y&z="),
              ElementsAre(Pair("model", "a b/c"), Pair("x", "1 2"), Pair("y", ""), Pair("z", "")));
  EXPECT_TRUE(parse_query("/plan")->empty());
  EXPECT_TRUE(parse_query("/plan?&&")->empty());
  for (const char* bad : {"/p?a=%", "/p?a=%1", "/p?a=%g0", "/p?a=%+1", "/p?a=1&a=2"}) {
    EXPECT_FALSE(parse_query(bad)) << bad;
  }
}

}  // namespace
}  // namespace baton::orchestrator
