#include "orchestrator/registry/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/http/server.h"
#include "tests/unit/registry/fake_connector.h"

namespace baton::orchestrator {
namespace {

namespace http = adapters::http;
namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// As vLLM answers the probe of vllm-nixl.
constexpr char kVllmProbeAnswer[] =
    R"({"choices":[],"kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,)"
    R"("remote_block_ids":[[1]],"remote_engine_id":"e","remote_request_id":"cmpl-1",)"
    R"("remote_host":"127.0.0.1","remote_port":5600,"tp_size":1,"transfer_mode":"pull"}})";

// What discovery asks of a pod, over a real socket; a test changes its mind at will.
class FakePod {
 public:
  explicit FakePod(asio::io_context& io) {
    auto server = http::Server::listen(
        io, "127.0.0.1", 0, {}, [this](http::Exchange& exchange) { return answer(exchange); });
    server_ = std::move(*server);
  }
  [[nodiscard]] std::uint16_t port() const { return server_->port(); }

  unsigned health = 200;
  std::uint64_t epoch = 1;
  std::string metrics = "vllm:num_requests_running 3\n";
  std::string models = R"({"data":[{"id":"m","max_model_len":2048}]})";
  std::string fake = R"({"version":"1"})";
  std::string probe = R"({"id":"e"})";
  bool answers_probes = true;
  std::map<std::string, int> asked;  // by path
  std::string given_back;

 private:
  http::Task<void> answer(http::Exchange& exchange) {
    const std::string path(exchange.request().path());
    ++asked[path];
    if (path == "/health") {
      co_await exchange.send(health, {}, "");
    } else if (path == "/baton/facts") {
      co_await exchange.send(
          200, {{"content-type", "application/json"}},
          R"({"engine_id":"e","epoch":)" + std::to_string(epoch) +
              R"(,"engine_version":"test","model_hash":"m","layout_hash":"00000000000000ff",)"
              R"("kv_address":"127.0.0.1:1","block_tokens":64,"max_context":4096,)"
              R"("bytes_per_token":2048,"role":"both","max_running":16,"loras":[]})");
    } else if (path == "/version") {
      co_await exchange.send(200, {}, R"({"version":"0.32.0"})");
    } else if (path == "/v1/models") {
      co_await exchange.send(200, {}, models);
    } else if (path == "/fake") {
      co_await exchange.send(200, {}, fake);
    } else if (path == "/probe") {
      while (!answers_probes) {
        asio::steady_timer wait(co_await asio::this_coro::executor, milliseconds(5));
        co_await wait.async_wait(asio::use_awaitable);
      }
      co_await exchange.send(200, {}, probe);
    } else if (path == "/v1/completions") {
      given_back = exchange.request().body;
      const bool is_probe = given_back.find(R"("do_remote_decode":true)") != std::string::npos;
      co_await exchange.send(is_probe ? 200 : 404, {}, kVllmProbeAnswer);
    } else if (path == "/give-back") {
      given_back = exchange.request().body;
      co_await exchange.send(404, {}, "");
    } else {
      co_await exchange.send(200, {}, metrics);
    }
  }

  std::unique_ptr<http::Server> server_;
};

Pod pod_at(const std::string& name, Role role, std::uint16_t port) {
  Pod pod;
  pod.name = name;
  pod.role = role;
  pod.host = "127.0.0.1";
  pod.port = port;
  pod.url = "http://127.0.0.1:" + std::to_string(port);
  return pod;
}

class RegistryTest : public testing::Test {
 protected:
  RegistryTest() {
    registry_->subscribe([this](std::shared_ptr<const Snapshot> snapshot) {
      EXPECT_GT(snapshot->version, last_version_);
      last_version_ = snapshot->version;
      latest_ = std::move(snapshot);
    });
  }

  std::shared_ptr<Config> config() {
    auto config = std::make_shared<Config>();
    PoolConfig& pool = config->pools.emplace_back();
    pool.name = "pool";
    pool.model = "m";
    pool.health = {milliseconds(50), seconds(1), 2, 3};
    pool.prefill = {pod_at("p", Role::kPrefill, prefill_.port())};
    pool.decode = {pod_at("d", Role::kDecode, decode_.port())};
    return config;
  }

  // The same with pods of the fake protocol, of which those that prefill are probed.
  std::shared_ptr<Config> fake_config() {
    auto fake = config();
    fake->pools[0].connector = "fake";
    return fake;
  }
  [[nodiscard]] bool shows(const std::string& series) const {
    return metrics_.expose().find("\n" + series + "\n") != std::string::npos;
  }

  void run_until(const std::function<bool()>& condition) {
    const TimePoint limit = Clock::now() + seconds(10);
    while (!condition()) {
      ASSERT_LT(Clock::now(), limit);
      io_.run_one_for(milliseconds(100));
    }
  }
  void run_until_ready() {
    run_until([this] { return registry_->ready(); });
  }
  const PodEntry& entry(std::size_t i) { return *latest_->pods.at(i); }
  Health health(std::size_t i) { return entry(i).state.health; }

  asio::io_context io_{1};
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  LatencyModels latencies_;
  Metrics metrics_;
  FakePod prefill_{io_};
  FakePod decode_{io_};
  std::uint64_t last_version_ = 0;
  std::shared_ptr<const Snapshot> latest_;
  FakeConnector fake_;
  std::unique_ptr<PodRegistry> registry_ = std::make_unique<PodRegistry>(
      io_, loads_, prefixes_, latencies_, metrics_, [this](std::string_view name) {
        return name == "fake" ? &fake_ : adapters::find_connector(name);
      });
};

TEST_F(RegistryTest, LearnsHealthFactsAndLoad) {
  registry_->apply(config());
  ASSERT_TRUE(latest_);
  EXPECT_EQ(health(0), Health::kUnknown);
  EXPECT_FALSE(registry_->ready());
  run_until_ready();
  EXPECT_EQ(entry(0).pod.facts.layout_hash, 0xFFU);
  EXPECT_EQ(entry(0).pod.facts.block_tokens, Tokens(64));
  EXPECT_EQ(entry(1).state.running, 3);
  EXPECT_TRUE(entry(1).state.observed_at);
  EXPECT_NE(entry(0).index, entry(1).index);
}

TEST_F(RegistryTest, AsksWhereThePoolSaysTo) {
  auto moved = config();
  moved->pools[0].connector = "plain";
  moved->pools[0].health.path = "/health/ready";
  moved->pools[0].health.metrics_path = "/load";
  registry_->apply(moved);
  run_until_ready();
  EXPECT_EQ(entry(1).state.running, 3);
  EXPECT_GT(decode_.asked["/health/ready"], 0);
  EXPECT_GT(decode_.asked["/load"], 0);
  EXPECT_FALSE(decode_.asked.contains("/health"));
  EXPECT_FALSE(decode_.asked.contains("/metrics"));

  moved = std::make_shared<Config>(*moved);  // a reload
  moved->pools[0].health.metrics_path.clear();
  registry_->apply(moved);
  run_until([this] { return decode_.asked["/metrics"] > 0; });
}

TEST_F(RegistryTest, LearnsOfVllmByItsOwnEndpoints) {
  const std::string load = "vllm:num_requests_running 0\n";
  const std::string block = "vllm:cache_config_info{block_size=\"16\"} 1\n";
  decode_.metrics = load + block + "process_start_time_seconds 1000\n";
  auto vllm = config();
  vllm->pools[0].connector = "vllm-nixl";
  registry_->apply(vllm);
  run_until_ready();
  EXPECT_EQ(entry(1).pod.facts.engine_version, "vLLM 0.32.0");
  EXPECT_EQ(entry(1).pod.facts.max_context, Tokens(2048));
  EXPECT_EQ(entry(1).pod.facts.block_tokens, Tokens(16));
  EXPECT_EQ(entry(1).pod.facts.epoch, 1'000'000U);
  EXPECT_EQ(entry(0).pod.facts.kv_address, "127.0.0.1:5600");
  run_until([this] { return decode_.asked["/v1/completions"] == 1; });  // the probe's block
  EXPECT_THAT(decode_.given_back, HasSubstr(R"("remote_request_id":"cmpl-1")"));

  const auto restarts = [this] {
    return shows("baton_pod_restarts_total{pod=\"d\",pool=\"pool\"} 1");
  };
  decode_.metrics = "nothing";  // no restart is seen in metrics that did not come
  run_until([this] { return entry(1).state.observed_at < Clock::now() - milliseconds(150); });
  EXPECT_EQ(entry(1).pod.facts.epoch, 1'000'000U);
  EXPECT_FALSE(restarts());
  decode_.metrics = load + block + "process_start_time_seconds 2000\n";
  run_until([this] { return entry(1).pod.facts.epoch == 2'000'000U; });
  EXPECT_TRUE(restarts());
}

TEST_F(RegistryTest, AsksForFactsWhenThereIsReasonToAndNotAtEveryCheck) {
  registry_->apply(config());
  run_until_ready();
  const int asked = prefill_.asked["/baton/facts"];
  const int checks = prefill_.asked["/health"];
  run_until([&] { return prefill_.asked["/health"] >= checks + 10; });
  EXPECT_EQ(prefill_.asked["/baton/facts"], asked);
  EXPECT_GE(prefill_.asked["/metrics"], checks + 9);
  loads_.of(entry(0).index).consecutive_errors = 1;
  run_until([&] { return prefill_.asked["/baton/facts"] > asked; });
}

TEST_F(RegistryTest, AsksForFactsWhenTheMetricsTellAnotherStart) {
  prefill_.metrics = "vllm:num_requests_running 0\nprocess_start_time_seconds 1000\n";
  registry_->apply(config());
  run_until_ready();
  prefill_.epoch = 2;
  prefill_.metrics = "vllm:num_requests_running 0\nprocess_start_time_seconds 2000\n";
  run_until([this] { return entry(0).pod.facts.epoch == 2; });
  EXPECT_TRUE(shows(R"(baton_pod_restarts_total{pod="p",pool="pool"} 1)"));
}

TEST_F(RegistryTest, UsesAPodOnceItsProbeIsAnswered) {
  prefill_.answers_probes = false;
  registry_->apply(fake_config());
  run_until([this] { return health(0) == Health::kHealthy && health(1) == Health::kHealthy; });
  EXPECT_FALSE(registry_->ready());
  EXPECT_THAT(entry(0).state.unusable_because, HasSubstr("probe is not answered"));
  EXPECT_EQ(entry(1).state.unusable_because, "");
  const int checks = prefill_.asked["/health"];  // go on meanwhile
  run_until([&] { return prefill_.asked["/health"] >= checks + 3; });
  EXPECT_EQ(prefill_.asked["/probe"], 1);
  EXPECT_TRUE(shows(R"(baton_pod_usable{pod="p",pool="pool",role="prefill"} 0)"));
  prefill_.answers_probes = true;
  run_until_ready();
  EXPECT_EQ(entry(0).pod.facts.engine_id, "e");
  EXPECT_EQ(entry(0).pod.facts.engine_version, "fake 1");
  EXPECT_TRUE(shows(R"(baton_pod_usable{pod="p",pool="pool",role="prefill"} 1)"));
  EXPECT_EQ(prefill_.asked["/probe"], 1);
  EXPECT_EQ(decode_.asked["/probe"], 0);
}

TEST_F(RegistryTest, WhatAProbePinnedIsGivenBackOnceADecodePodIsUsable) {
  decode_.health = 503;
  registry_->apply(fake_config());
  run_until(
      [this] { return prefill_.asked["/probe"] == 1 && entry(0).pod.facts.engine_id == "e"; });
  const int checks = prefill_.asked["/health"];
  run_until([&] { return prefill_.asked["/health"] >= checks + 2; });
  EXPECT_EQ(decode_.asked["/give-back"], 0);
  decode_.health = 200;
  run_until([this] { return decode_.asked["/give-back"] == 1; });
  EXPECT_EQ(decode_.given_back, R"({"id":"e"})");
  const int later = prefill_.asked["/health"];
  run_until([&] { return prefill_.asked["/health"] >= later + 2; });
  EXPECT_EQ(decode_.asked["/give-back"], 1);
  EXPECT_EQ(prefill_.asked["/give-back"], 0);
}

TEST_F(RegistryTest, ARestartedPodTakesNothingUntilItIsProbedAnew) {
  const std::string load = "vllm:num_requests_running 0\n";
  prefill_.metrics = load + "process_start_time_seconds 1000\n";
  registry_->apply(fake_config());
  run_until_ready();
  const std::vector<std::uint64_t> chain = {11, 22, 33};
  const std::vector<std::uint32_t> pods = {entry(0).index};
  prefixes_.confirm(chain, pods[0], Clock::now());
  prefill_.answers_probes = false;
  prefill_.probe = R"({"id":"f"})";
  prefill_.metrics = load + "process_start_time_seconds 2000\n";
  run_until([this] { return !entry(0).state.unusable_because.empty(); });
  EXPECT_FALSE(registry_->ready());
  EXPECT_EQ(entry(0).pod.facts.engine_id, "");
  EXPECT_THAT(prefixes_.match(chain, pods, Clock::now()), testing::ElementsAre(0));
  prefill_.answers_probes = true;
  run_until_ready();
  EXPECT_EQ(entry(0).pod.facts.engine_id, "f");
  EXPECT_TRUE(shows(R"(baton_pod_restarts_total{pod="p",pool="pool"} 1)"));
}

TEST_F(RegistryTest, SaysOfAPodWhyItCannotBeUsed) {
  prefill_.probe = "{}";
  decode_.fake = "hello";
  registry_->apply(fake_config());
  run_until([this] {
    return entry(0).state.unusable_because == "hands nothing over" &&
           entry(1).state.unusable_because == "is no fake engine";
  });
  EXPECT_FALSE(registry_->ready());
  EXPECT_EQ(health(1), Health::kHealthy);
  decode_.fake = R"({"version":"1"})";
  run_until([this] { return entry(1).state.unusable_because.empty(); });
}

TEST_F(RegistryTest, APodWithoutTheModelCannotBeUsed) {
  decode_.models = R"({"data":[{"id":"a"},{"id":"b"},{"id":"l","parent":"a"}]})";
  registry_->apply(config());
  run_until([this] { return !entry(1).state.unusable_because.empty(); });
  EXPECT_THAT(entry(1).state.unusable_because, HasSubstr("serves the model a, b, not m"));
  EXPECT_FALSE(registry_->ready());
  decode_.models = "whatever";  // an answer that tells nothing keeps nobody out
  run_until_ready();
}

TEST_F(RegistryTest, EjectsAndTakesBack) {
  registry_->apply(config());
  run_until_ready();
  decode_.health = 500;
  run_until([this] { return health(1) == Health::kEjected; });
  EXPECT_FALSE(registry_->ready());
  EXPECT_EQ(health(0), Health::kHealthy);
  decode_.health = 200;
  run_until([this] { return health(1) == Health::kHealthy; });
}

TEST_F(RegistryTest, EjectsByRequestErrorsAndForgetsThemWhenTakenBack) {
  registry_->apply(config());
  run_until_ready();
  loads_.of(entry(1).index).consecutive_errors = 3;
  run_until([this] { return health(1) == Health::kEjected; });
  run_until([this] { return health(1) == Health::kHealthy; });
  EXPECT_EQ(loads_.of(entry(1).index).consecutive_errors, 0);
}

TEST_F(RegistryTest, ForgetsThePrefixesAndTimesOfARestartedPod) {
  registry_->apply(config());
  run_until_ready();
  const std::vector<std::uint64_t> chain = {11, 22, 33};
  const std::vector<std::uint32_t> pods = {entry(0).index, entry(1).index};
  for (const std::uint32_t pod : pods) prefixes_.confirm(chain, pod, Clock::now());
  ASSERT_THAT(prefixes_.match(chain, pods, Clock::now()), testing::ElementsAre(3, 3));
  LatencyModel& model = latencies_.of(latest_->pool);
  for (const std::uint32_t pod : pods) {
    ASSERT_TRUE(model.observe(LatencyModel::PrefillSeen{pod, 1, 100, 1e4, 1.0}));
  }
  const auto is_as_usual = [&model](std::uint32_t pod) {
    return model.prefill_seconds(pod, Tokens(0), Tokens(100)) ==
           model.prefill_seconds(LatencyModel::kAnyPod, Tokens(0), Tokens(100));
  };
  ASSERT_FALSE(is_as_usual(pods[0]));
  prefill_.epoch = 2;
  prefill_.metrics += "process_start_time_seconds 2000\n";
  run_until([this] { return entry(0).pod.facts.epoch == 2; });
  EXPECT_THAT(prefixes_.match(chain, pods, Clock::now()), testing::ElementsAre(0, 3));
  EXPECT_TRUE(is_as_usual(pods[0]));
  EXPECT_FALSE(is_as_usual(pods[1]));
}

TEST_F(RegistryTest, ForgetsThePrefixesOfAnEjectedPodWhereNothingTellsRestarts) {
  registry_->apply(fake_config());
  run_until_ready();
  ASSERT_EQ(entry(1).pod.facts.epoch, 0U);
  const std::vector<std::uint64_t> chain = {11, 22, 33};
  const std::vector<std::uint32_t> pods = {entry(1).index};
  prefixes_.confirm(chain, pods[0], Clock::now());
  decode_.health = 503;
  run_until([this] { return health(1) == Health::kEjected; });
  EXPECT_THAT(prefixes_.match(chain, pods, Clock::now()), testing::ElementsAre(0));
}

TEST_F(RegistryTest, DrainsByName) {
  registry_->apply(config());
  run_until_ready();
  EXPECT_TRUE(registry_->drain("p"));
  EXPECT_EQ(health(0), Health::kDraining);
  EXPECT_TRUE(loads_.of(entry(0).index).draining);
  EXPECT_FALSE(registry_->ready());
  EXPECT_TRUE(registry_->undrain("p"));
  EXPECT_TRUE(registry_->ready());
  EXPECT_FALSE(loads_.of(entry(0).index).draining);
  EXPECT_FALSE(registry_->drain("nobody"));
}

TEST_F(RegistryTest, KeepsKnownPodsOverAReloadAndForgetsOthers) {
  registry_->apply(config());
  run_until_ready();
  const std::uint32_t index = entry(0).index;
  auto other = config();
  other->pools[0].prefill[0].max_running = 7;
  other->pools[0].decode[0].name = "d2";
  registry_->apply(other);
  EXPECT_EQ(health(0), Health::kHealthy);
  EXPECT_EQ(entry(0).index, index);
  EXPECT_EQ(entry(0).pod.max_running, 7);
  EXPECT_EQ(entry(1).pod.name, "d2");
  EXPECT_EQ(health(1), Health::kUnknown);
  run_until_ready();
}

TEST_F(RegistryTest, MayGoWhileChecksAreUnderWay) {
  registry_->apply(config());
  io_.run_one_for(milliseconds(100));
  registry_.reset();
  for (int i = 0; i < 20; ++i) io_.run_one_for(milliseconds(5));
}

}  // namespace
}  // namespace baton::orchestrator
