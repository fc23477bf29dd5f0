#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::orchestrator {

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
};

enum class Split : std::uint8_t { kAuto, kAlways, kNever };

struct HealthConfig {
  Duration interval = std::chrono::seconds(1);
  Duration timeout = std::chrono::seconds(1);
  int failures = 3;        // failed checks in a row that eject a pod
  int passive_errors = 5;  // failed requests in a row that eject it
  std::string path = "/health";
  std::string metrics_path{};  // empty: where the connector's engine serves them
};

// What becomes of a request that is predicted to miss its SLO.
enum class Admission : std::uint8_t { kServe, kRefuse };

struct SloConfig {
  std::optional<Duration> ttft;
  std::optional<Duration> tpot;
  Admission admission = Admission::kServe;
};

struct LoraConfig {
  std::string name;
  std::string path;
};

struct TimeoutConfig {
  Duration connect = std::chrono::seconds(2);
  Duration first_byte = std::chrono::seconds(300);  // of a leg's answer
  Duration idle = std::chrono::seconds(60);         // between pieces of a stream
};

// Where the pods of a pool publish the KV events of their first data-parallel rank.
struct KvEventsConfig {
  std::uint16_t port = 0;         // 0: nowhere
  std::uint16_t replay_port = 0;  // 0: lost events cannot be had again
  int ranks = 1;                  // each further rank has the next ports
  std::string topic;
  bool tokenize = true;  // ask pods for the ids of text prompts, to match them with the events
};

struct PoolConfig {
  std::string name;
  std::string model;  // the OpenAI name
  std::vector<std::string> aliases;
  std::string connector = "baton";
  Split split = Split::kAuto;
  std::string prefill_policy = "predicted";
  std::string decode_policy = "predicted";
  SloConfig slo;
  Duration empty_wait = std::chrono::seconds(30);
  HealthConfig health;
  TimeoutConfig timeouts;
  Duration lease = std::chrono::seconds(30);  // for which prefill pods keep blocks
  KvEventsConfig kv_events;
  std::vector<Pod> prefill;  // role, name, url, host, port, labels, max_running set
  std::vector<Pod> decode;
  std::vector<Pod> both;  // pods that do both stages
  std::vector<LoraConfig> loras;

  // Prefill, decode, both, in this order.
  [[nodiscard]] std::vector<Pod> pods() const;
};

// Where the pod publishes and replays KV events; 0: nowhere.
[[nodiscard]] std::uint16_t kv_events_port(const PoolConfig& pool, const Pod& pod);
[[nodiscard]] std::uint16_t kv_replay_port(const PoolConfig& pool, const Pod& pod);
[[nodiscard]] bool publishes_kv_events(const PoolConfig& pool);  // any pod of it

struct LimitsConfig {
  Bytes body{10LL << 20};
  Duration header = std::chrono::seconds(10);
  Bytes stream_buffer{256LL << 10};
  int connections = 15000;
};

// The configuration file (docs/configuration.md), read and checked. Immutable; a reload makes a new
// one.
struct Config {
  Endpoint listen{"0.0.0.0", 8080};
  Endpoint admin{"127.0.0.1", 9090};
  int threads = 0;  // 0: one per core
  bool expose_plan = false;
  double retry_budget = 0.2;  // retries per request, at most
  Bytes prefix_index{256LL << 20};
  Duration drain_timeout = std::chrono::seconds(30);
  std::string log_level = "info";
  std::string log_format = "text";
  LimitsConfig limits;
  std::vector<PoolConfig> pools;
};

struct ConfigIssue {
  int line = 0;  // from 1; 0: no place in the file
  int column = 0;
  std::string message;  // names the key, what is wrong, the nearest valid key or the range
};

// Reads a configuration. All errors at once, in the order of the file.
[[nodiscard]] std::expected<Config, std::vector<ConfigIssue>> parse_config(std::string_view yaml);
[[nodiscard]] std::expected<Config, std::vector<ConfigIssue>> load_config(const std::string& path);
// One line: `file:line:column: message`, or `file: message` where it has no place.
[[nodiscard]] std::string format_issue(std::string_view file, const ConfigIssue& issue);

// All made from the table that parse_config() reads by (spec.h): the published JSON Schema, the
// reference (Markdown) and the configuration in force as JSON, defaults filled in.
[[nodiscard]] std::string config_json_schema();
[[nodiscard]] std::string config_reference();
[[nodiscard]] std::string config_to_json(const Config& config);

// "HOST:PORT", "[IPV6]:PORT" or ":PORT" (all addresses).
[[nodiscard]] std::optional<Endpoint> parse_endpoint(std::string_view text);
[[nodiscard]] std::string to_string(const Endpoint& endpoint);

}  // namespace baton::orchestrator
