#include "orchestrator/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "orchestrator/commands/metrics_reference.h"
#include "orchestrator/config/values.h"

namespace baton::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kSmall = R"(
pools:
  - name: chat
    model: m
    prefill: [{name: p0, url: "http://127.0.0.1:8001"}]
    decode: [{name: d0, url: "http://127.0.0.1:8002"}]
)";

std::vector<std::string> issues_of(std::string_view yaml) {
  const auto config = parse_config(yaml);
  std::vector<std::string> lines;
  if (config) return lines;
  for (const ConfigIssue& issue : config.error()) lines.push_back(format_issue("f", issue));
  return lines;
}

std::string with(std::string_view line) { return std::string(line) + std::string(kSmall); }

TEST(ParseConfig, FillsInDefaults) {
  const auto config = parse_config(kSmall);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->listen.port, 8080);
  EXPECT_EQ(config->admin.host, "127.0.0.1");
  EXPECT_EQ(config->limits.body, Bytes(10LL << 20));
  ASSERT_EQ(config->pools.size(), 1U);
  EXPECT_EQ(config->pools[0].connector, "baton");
  EXPECT_EQ(config->pools[0].split, Split::kAuto);
  EXPECT_FALSE(config->pools[0].slo.ttft);
}

TEST(ParseConfig, ReadsEveryKindOfValue) {
  const auto config = parse_config(R"(
listen: "[::1]:0"
admin: {listen: ":9191"}
threads: 3
expose_plan: true
retry_budget: 0.5
drain_timeout_seconds: 1.5
prefix_index_bytes: 64MB
log: {level: debug, format: json}
limits: {body_bytes: 10MiB, header_seconds: 0.25, stream_buffer_bytes: 65536, connections: 7}
pools:
  - name: chat
    model: big
    aliases: [b, bigger]
    split: always
    slo: {ttft_ms: 250, tpot_ms: 12.5, admission: refuse}
    health: {interval_seconds: 0.5, timeout_seconds: 0.25, failures: 2, passive_errors: 9}
    timeouts: {connect_seconds: 1, first_byte_seconds: 9, idle_seconds: 8}
    kv_events: {port: 5557, replay_port: 5558, ranks: 4, topic: kv@}
    prefill: [{name: p0, url: "http://10.0.0.1:8000/", labels: {zone: a}, max_running: 2}]
    decode: [{name: d0, url: "http://[fe80::1]:8000"}]
    both: [{name: b0, url: http://host:1}]
    loras: [{name: sql, path: /m/sql}]
)");
  ASSERT_TRUE(config) << format_issue("f", config.error().front());
  EXPECT_EQ(to_string(config->listen), "[::1]:0");
  EXPECT_EQ(to_string(config->admin), "0.0.0.0:9191");
  EXPECT_TRUE(config->expose_plan);
  EXPECT_EQ(config->drain_timeout, milliseconds(1500));
  EXPECT_EQ(config->prefix_index, Bytes(64'000'000));
  EXPECT_EQ(config->log_format, "json");
  EXPECT_EQ(config->limits.header, milliseconds(250));
  EXPECT_EQ(config->limits.stream_buffer, Bytes(65536));
  const PoolConfig& pool = config->pools[0];
  EXPECT_THAT(pool.aliases, ElementsAre("b", "bigger"));
  EXPECT_EQ(pool.split, Split::kAlways);
  EXPECT_EQ(pool.slo.tpot, std::chrono::microseconds(12'500));
  EXPECT_EQ(pool.slo.admission, Admission::kRefuse);
  EXPECT_EQ(pool.health.timeout, milliseconds(250));
  EXPECT_EQ(pool.timeouts.idle, seconds(8));
  const std::vector<Pod> pods = pool.pods();
  ASSERT_EQ(pods.size(), 3U);
  EXPECT_EQ(pods[0].role, Role::kPrefill);
  EXPECT_EQ(pods[0].host, "10.0.0.1");
  EXPECT_EQ(pods[0].labels.at("zone"), "a");
  EXPECT_EQ(pods[0].max_running, 2);
  EXPECT_EQ(pods[1].role, Role::kDecode);
  EXPECT_EQ(pods[1].host, "fe80::1");
  EXPECT_EQ(pods[2].role, Role::kBoth);
  EXPECT_EQ(pool.loras[0].path, "/m/sql");
  EXPECT_EQ(pool.kv_events.ranks, 4);
  EXPECT_EQ(pool.kv_events.topic, "kv@");
  EXPECT_EQ(kv_events_port(pool, pods[0]), 5557);
  EXPECT_EQ(kv_replay_port(pool, pods[0]), 5558);
}

TEST(ParseConfig, FindsPodsThatWouldShareAPublisher) {
  const auto issues = issues_of(R"(
pools:
  - name: chat
    model: m
    kv_events: {port: 65535, ranks: 2}
    prefill:
      - {name: p0, url: "http://a:1"}
      - {name: p1, url: "http://a:2"}
      - {name: p2, url: "http://a:3", kv_events_port: 7000}
    decode: [{name: d0, url: "http://a:1"}]
)");
  EXPECT_THAT(issues,
              ElementsAre(HasSubstr("kv_events.ranks has ranks whose ports would be above 65535"),
                          HasSubstr("f:8:9: pools[0].prefill[1] would publish KV events at "
                                    "a:65535, as the pod at a:1 does")));
}

TEST(ParseConfig, GivesEachPodThePathsOfItsPool) {
  const std::string pool =
      "pools: [{name: p, model: m, both: [{name: b, url: 'http://x:80'}], health: ";
  const auto good =
      parse_config(pool + "{path: /health/ready, metrics_path: /prometheus/metrics}}]");
  ASSERT_TRUE(good);
  const Pod pod = good->pools[0].pods().at(0);
  EXPECT_EQ(pod.health_path, "/health/ready");
  EXPECT_EQ(pod.metrics_path, "/prometheus/metrics");
  for (const std::string health : {"{path: health}", "{path: \"/a b\"}", "{metrics_path: metrics}",
                                   "{metrics_path: \"/a\\nb\"}"}) {
    EXPECT_THAT(issues_of(pool + health + "}]"),
                ElementsAre(HasSubstr("path must begin with / and have no spaces")))
        << health;
  }
}

TEST(ParseConfig, NamesTheNearestKeyWithItsPlace) {
  EXPECT_THAT(issues_of(with("lisen: 1")),
              ElementsAre("f:1:1: unknown key \"lisen\"; did you mean \"listen\"?"));
  EXPECT_THAT(issues_of(with("limits: {boddy_bytes: 1KiB}")),
              ElementsAre("f:1:10: unknown key \"boddy_bytes\" in limits; did you mean "
                          "\"body_bytes\"?"));
  EXPECT_THAT(issues_of(with("frobnicate: 1")), ElementsAre(HasSubstr("valid keys: listen, ")));
}

TEST(ParseConfig, RefusesWrongTypesAndRanges) {
  const auto one = [](std::string_view line, std::string_view message) {
    EXPECT_THAT(issues_of(with(line)), ElementsAre(HasSubstr(std::string(message)))) << line;
  };
  one("threads: \"3\"", "f:1:10: threads must be a whole number, not \"3\"");
  one("threads: 3.5", "must be a whole number");
  one("threads: [1]", "must be a whole number, not this list");
  one("threads: 99999999999999999999", "must be a whole number");
  one("threads: -1", "must be 0 to 1024");
  one("retry_budget: .nan", "must be a number");
  one("retry_budget: 1.01", "must be 0 to 1");
  one("expose_plan: yes", "must be true or false");
  one("limits: {body_bytes: 10MeB}", "must be a size");
  one("limits: {body_bytes: 9999999999999TiB}", "must be a size");
  one("limits: {body_bytes: 1}", "must be 1KiB to 4GiB");
  one("limits: 3", "limits must be a map, not \"3\"");
  one("limits:", "f:1:1: limits must be a map, not nothing");
  one("listen: 8080", "must be HOST:PORT");
  one("listen: a:99999", "must be HOST:PORT");
  one("log: {level: infos}", "did you mean \"info\"?");
  one("threads: 1\nthreads: 2", "f:2:1: key \"threads\" stands here a second time");
}

TEST(ParseConfig, ReportsEverythingAtOnceInOrder) {
  const auto lines = issues_of(R"(threads: x
pools:
  - name: chat
    model: m
    connector: batn
    prefill:
      - {name: p0, url: "https://x:1"}
      - {name: p0, url: "http://x:80/v1"}
      - {url: "http://x:80"}
    decode: [{name: d0, url: "http://x:80"}, {name: d1, url: "http://x:80"}]
  - {name: chat, model: m, both: []}
)");
  EXPECT_THAT(lines,
              ElementsAre(HasSubstr("f:1:10: threads"), HasSubstr("f:5:16: pools[0].connector"),
                          HasSubstr("f:7:25: pools[0].prefill[0].url must be http://"),
                          HasSubstr("f:8:16: pools[0].prefill[1].name: the name \"p0\""),
                          HasSubstr("f:8:25: pools[0].prefill[1].url must be http://"),
                          HasSubstr("f:9:9: pools[0].prefill[2] lacks the key \"name\""),
                          HasSubstr("f:10:62: pools[0].decode[1].url: the address \"x:80\""),
                          HasSubstr("f:11:5: pools[1] has no pod that decodes"),
                          HasSubstr("f:11:12: pools[1].name: the name \"chat\""),
                          HasSubstr("f:11:25: pools[1].model: the model name \"m\"")));
}

TEST(ParseConfig, RefusesWhatIsNoYaml) {
  EXPECT_THAT(issues_of("a: [1, 2\nb: }"), ElementsAre(HasSubstr("not YAML")));
  EXPECT_THAT(issues_of(""), ElementsAre(HasSubstr("is empty")));
  EXPECT_THAT(issues_of("- 1"), ElementsAre(HasSubstr("f:1:1: the configuration must be a map")));
  EXPECT_THAT(issues_of("pools: []"), ElementsAre("f:1:8: pools is empty; at least one is needed"));
  EXPECT_THAT(issues_of("threads: 1"), ElementsAre(HasSubstr("lacks the key \"pools\"")));
  EXPECT_THAT(issues_of(with("a: 1\n---\n")), testing::Not(testing::IsEmpty()));
  EXPECT_FALSE(issues_of(std::string(100'000, '[')).empty());
  EXPECT_FALSE(issues_of(std::string("\0\xFF\xFE{", 4)).empty());
}

TEST(LoadConfig, SaysThatAFileCannotBeRead) {
  const auto config = load_config("/nonexistent/baton.yaml");
  ASSERT_FALSE(config);
  EXPECT_THAT(format_issue("/nonexistent/baton.yaml", config.error().front()),
              HasSubstr("/nonexistent/baton.yaml: cannot be read"));
}

TEST(ParseSize, ReadsSuffixes) {
  EXPECT_EQ(parse_size("0"), 0);
  EXPECT_EQ(parse_size("10MiB"), 10LL << 20);
  EXPECT_EQ(parse_size("10 MB"), 10'000'000);
  EXPECT_EQ(parse_size("8388607TiB"), 8388607LL << 40);
  EXPECT_FALSE(parse_size("8388608TiB"));
  EXPECT_FALSE(parse_size("-1KiB"));
  EXPECT_FALSE(parse_size("MiB"));
  EXPECT_FALSE(parse_size("1.5MiB"));
  for (const std::int64_t bytes : {0LL, 1LL, 1023LL, 10LL << 20, 3LL << 30, 5'000'000LL}) {
    EXPECT_EQ(parse_size(format_size(bytes)), bytes);
  }
}

TEST(ConfigToJson, GivesBackWhatTheFileSaid) {
  const auto config = parse_config(with("retry_budget: 0.1\ndrain_timeout_seconds: 2.5"));
  ASSERT_TRUE(config);
  const auto json = nlohmann::json::parse(config_to_json(*config));
  EXPECT_EQ(json["retry_budget"], 0.1);
  EXPECT_EQ(json["drain_timeout_seconds"], 2.5);
  EXPECT_EQ(json["pools"][0]["health"]["interval_seconds"], 1);
  EXPECT_EQ(json["pools"][0]["prefill"][0]["url"], "http://127.0.0.1:8001");
  EXPECT_TRUE(json["pools"][0]["slo"]["ttft_ms"].is_null());
  EXPECT_EQ(json["pools"][0]["slo"]["admission"], "serve");
}

std::string committed(const std::string& path) {
  std::ifstream file(std::string(BATON_SOURCE_DIR) + "/" + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(CommittedText, ReferenceIsTheGeneratedOne) {
  EXPECT_EQ(committed("docs/configuration.md"), config_reference())
      << "run: baton check --reference > docs/configuration.md";
}

TEST(CommittedText, SchemaIsTheGeneratedOne) {
  EXPECT_EQ(committed("deploy/baton.schema.json"), config_json_schema())
      << "run: baton check --schema > deploy/baton.schema.json";
}

TEST(CommittedText, MetricsReferenceIsTheGeneratedOne) {
  EXPECT_EQ(committed("docs/metrics.md"), metrics_reference())
      << "run: baton check --metrics-reference > docs/metrics.md";
}

TEST(CommittedText, ExampleIsGood) {
  EXPECT_THAT(issues_of(committed("deploy/baton.yaml")), testing::IsEmpty());
}

}  // namespace
}  // namespace baton::orchestrator
