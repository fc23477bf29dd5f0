#include "orchestrator/config/spec.h"

#include <string_view>
#include <type_traits>
#include <utility>

#include "adapters/engines/connector.h"
#include "core/picking/policy.h"
#include "orchestrator/config/config.h"
#include "orchestrator/config/values.h"

namespace baton::orchestrator {
namespace {

constexpr double kDay = 86'400;

// Describes the members of one struct; hides the casts that a table of many structs needs.
template <class Owner>
class Describe {
 public:
  explicit Describe(std::string title) { spec_.title = std::move(title); }
  operator ObjectSpec() const { return spec_; }  // NOLINT(google-explicit-constructor)

  template <class Member>
  Describe& field(std::string key, FieldKind kind, Member Owner::* member, std::string help) {
    FieldSpec& added = add(std::move(key), kind, std::move(help));
    added.store = [member](void* owner, const FieldValue& value) {
      assign(static_cast<Owner*>(owner)->*member, value);
    };
    added.load = [member](const void* owner) {
      return read(static_cast<const Owner*>(owner)->*member);
    };
    return *this;
  }
  // For members whose text form is not their own: enumerations, endpoints, URLs.
  template <class Store, class Load>
  Describe& field(std::string key, FieldKind kind, Store store, Load load, std::string help) {
    FieldSpec& added = add(std::move(key), kind, std::move(help));
    added.store = [store](void* owner, const FieldValue& value) {
      store(*static_cast<Owner*>(owner), std::get<std::string>(value));
    };
    added.load = [load](const void* owner) {
      return FieldValue(std::string(load(*static_cast<const Owner*>(owner))));
    };
    return *this;
  }
  // Seconds, or milliseconds where the key ends in _ms.
  template <class Member>
  Describe& duration(std::string key, Member Owner::* member, double min, double max,
                     std::string help) {
    const double unit = key.ends_with("_ms") ? 1e-3 : 1.0;
    FieldSpec& added = add(std::move(key), FieldKind::kNumber, std::move(help));
    added.min = min;
    added.max = max;
    added.store = [member, unit](void* owner, const FieldValue& value) {
      static_cast<Owner*>(owner)->*member =
          std::chrono::duration_cast<Duration>(Seconds(std::get<double>(value) * unit));
    };
    added.load = [member, unit](const void* owner) -> FieldValue {
      const std::optional<Duration> held = static_cast<const Owner*>(owner)->*member;
      if (!held) return std::monostate();
      return to_seconds(*held) / unit;
    };
    return *this;
  }
  Describe& endpoint(std::string key, Endpoint Owner::* member, std::string help) {
    return field(
        std::move(key), FieldKind::kEndpoint,
        [member](Owner& owner, const std::string& text) { owner.*member = *parse_endpoint(text); },
        [member](const Owner& owner) { return to_string(owner.*member); }, std::move(help));
  }

  template <class Member>
  Describe& object(std::string key, Member Owner::* member, const ObjectSpec& spec,
                   std::string help) {
    return nested(
        std::move(key), spec, [member](Owner& owner) -> void* { return &(owner.*member); },
        [member](const Owner& owner) -> const void* { return &(owner.*member); }, std::move(help));
  }
  // A nested object in the file whose members are the owner's own.
  Describe& section(std::string key, const ObjectSpec& spec, std::string help) {
    return nested(
        std::move(key), spec, [](Owner& owner) -> void* { return &owner; },
        [](const Owner& owner) -> const void* { return &owner; }, std::move(help));
  }
  template <class Element>
  Describe& list(std::string key, std::vector<Element> Owner::* member, const ObjectSpec& spec,
                 std::string help) {
    FieldSpec& added = add(std::move(key), FieldKind::kObjectList, std::move(help));
    added.object = &spec;
    added.open = [member](void* owner) -> void* {
      return &(static_cast<Owner*>(owner)->*member).emplace_back();
    };
    added.elements = [member](const void* owner) {
      std::vector<const void*> all;
      for (const Element& element : static_cast<const Owner*>(owner)->*member) {
        all.push_back(&element);
      }
      return all;
    };
    added.defaults = [] { return &default_of<Element>(); };
    return *this;
  }

  Describe& required() {
    spec_.fields.back().required = true;
    return *this;
  }
  Describe& range(double min, double max) {
    spec_.fields.back().min = min;
    spec_.fields.back().max = max;
    return *this;
  }
  Describe& choices(std::vector<std::string> names) {
    spec_.fields.back().choices = std::move(names);
    return *this;
  }

 private:
  template <class T>
  static const T& default_of() {
    static const T made{};
    return made;
  }

  template <class Member>
  static void assign(Member& member, const FieldValue& value) {
    if constexpr (std::is_same_v<Member, Bytes>) {
      member = Bytes(std::get<std::int64_t>(value));
    } else if constexpr (std::is_same_v<Member, int> || std::is_same_v<Member, std::uint16_t>) {
      member = static_cast<Member>(std::get<std::int64_t>(value));
    } else {
      member = std::get<Member>(value);
    }
  }
  template <class Member>
  static FieldValue read(const Member& member) {
    if constexpr (std::is_same_v<Member, Bytes>) {
      return member.count();
    } else if constexpr (std::is_same_v<Member, int> || std::is_same_v<Member, std::uint16_t>) {
      return std::int64_t{member};
    } else {
      return member;
    }
  }

  FieldSpec& add(std::string key, FieldKind kind, std::string help) {
    FieldSpec& added = spec_.fields.emplace_back();
    added.key = std::move(key);
    added.kind = kind;
    added.help = std::move(help);
    return added;
  }
  template <class Open, class Element>
  Describe& nested(std::string key, const ObjectSpec& spec, Open open, Element element,
                   std::string help) {
    FieldSpec& added = add(std::move(key), FieldKind::kObject, std::move(help));
    added.object = &spec;
    added.open = [open](void* owner) { return open(*static_cast<Owner*>(owner)); };
    added.elements = [element](const void* owner) {
      return std::vector<const void*>{element(*static_cast<const Owner*>(owner))};
    };
    added.defaults = [element] { return element(default_of<Owner>()); };
    return *this;
  }

  ObjectSpec spec_;
};

const ObjectSpec& pod_spec() {
  static const ObjectSpec described =
      Describe<Pod>("Pod")
          .field("name", FieldKind::kText, &Pod::name,
                 "Unique in the file. The only form in which clients see a pod.")
          .required()
          .field(
              "url", FieldKind::kUrl,
              [](Pod& pod, const std::string& text) {
                const PodUrl url = *parse_pod_url(text);
                pod.url = text;
                pod.host = url.host;
                pod.port = url.port;
              },
              [](const Pod& pod) { return pod.url; }, "`http://HOST:PORT` of its OpenAI API.")
          .required()
          .field("labels", FieldKind::kTextMap, &Pod::labels,
                 "Free labels, such as a zone; shown by `/pods`.")
          .field("max_running", FieldKind::kInteger, &Pod::max_running,
                 "Requests that the router lets run on it at once.")
          .range(1, 65'536)
          .field("bootstrap_port", FieldKind::kInteger, &Pod::bootstrap_port,
                 "Of a prefill pod: where decode pods find it (vLLM's Mooncake connector, SGLang). "
                 "What the engine tells of itself goes first.")
          .range(1, 65'535)
          .field("kv_events_port", FieldKind::kInteger, &Pod::kv_events_port,
                 "Where this pod publishes KV events; 0: at the pool's `kv_events.port`.")
          .range(0, 65'535)
          .field("kv_replay_port", FieldKind::kInteger, &Pod::kv_replay_port,
                 "Where this pod replays them; 0: at the pool's `kv_events.replay_port`.")
          .range(0, 65'535);
  return described;
}

const ObjectSpec& lora_spec() {
  static const ObjectSpec described =
      Describe<LoraConfig>("LoRA adapter")
          .field("name", FieldKind::kText, &LoraConfig::name,
                 "The OpenAI model name that asks for it.")
          .required()
          .field("path", FieldKind::kText, &LoraConfig::path,
                 "Where the pods find it. Pods of Baton load adapters when they start and need "
                 "none.");
  return described;
}

std::vector<std::string> names_of_policies() {
  return {policy_names().begin(), policy_names().end()};
}

const ObjectSpec& policy_spec() {
  static const ObjectSpec described =
      Describe<PoolConfig>("Picking policy")
          .field(
              "prefill", FieldKind::kChoice, &PoolConfig::prefill_policy,
              "How a prefill pod is picked: by predicted seconds over pairs of pods, or as others "
              "do (docs/picking.md).")
          .choices(names_of_policies())
          .field("decode", FieldKind::kChoice, &PoolConfig::decode_policy,
                 "How a decode pod is picked.")
          .choices(names_of_policies());
  return described;
}

const ObjectSpec& slo_spec() {
  static const ObjectSpec described =
      Describe<SloConfig>("Objectives")
          .duration("ttft_ms", &SloConfig::ttft, 1, kDay * 1e3, "Time to the first token.")
          .duration("tpot_ms", &SloConfig::tpot, 0.1, kDay * 1e3,
                    "Time per output token after the first.")
          .field(
              "admission", FieldKind::kChoice,
              [](SloConfig& slo, const std::string& name) {
                slo.admission = name == "refuse" ? Admission::kRefuse : Admission::kServe;
              },
              [](const SloConfig& slo) {
                return slo.admission == Admission::kRefuse ? "refuse" : "serve";
              },
              "What becomes of a request that is predicted to miss its SLO, the pool's or that of "
              "its headers: `serve` counts it, `refuse` answers 429 at once.")
          .choices({"serve", "refuse"});
  return described;
}

const ObjectSpec& health_spec() {
  static const ObjectSpec described =
      Describe<HealthConfig>("Health checks")
          .duration("interval_seconds", &HealthConfig::interval, 0.05, 3'600,
                    "Between two checks of a pod, each with a look at its metrics.")
          .duration("timeout_seconds", &HealthConfig::timeout, 0.01, 600,
                    "A check that takes longer has failed.")
          .field("failures", FieldKind::kInteger, &HealthConfig::failures,
                 "Failed checks in a row that eject a pod.")
          .range(1, 1'000)
          .field("passive_errors", FieldKind::kInteger, &HealthConfig::passive_errors,
                 "Failed requests in a row that eject a pod.")
          .range(1, 1'000'000)
          .field("path", FieldKind::kText, &HealthConfig::path,
                 "What is asked for in a check: a pod that answers 200 is well.")
          .field("metrics_path", FieldKind::kText, &HealthConfig::metrics_path,
                 "Where pods serve their metrics; none: at `/metrics`, with the connector `trtllm` "
                 "at `/prometheus/metrics`.");
  return described;
}

const ObjectSpec& timeouts_spec() {
  static const ObjectSpec described =
      Describe<TimeoutConfig>("Timeouts of requests to pods")
          .duration("connect_seconds", &TimeoutConfig::connect, 0.01, 600, "To connect to a pod.")
          .duration("first_byte_seconds", &TimeoutConfig::first_byte, 0.01, kDay,
                    "From a request to the head of its answer.")
          .duration("idle_seconds", &TimeoutConfig::idle, 0.01, kDay,
                    "Between two pieces of an answer.");
  return described;
}

const ObjectSpec& kv_events_spec() {
  static const ObjectSpec described =
      Describe<KvEventsConfig>("KV events")
          .field("port", FieldKind::kInteger, &KvEventsConfig::port,
                 "Port of the pods' publisher (ZeroMQ); 0: they publish none.")
          .range(0, 65'535)
          .field("replay_port", FieldKind::kInteger, &KvEventsConfig::replay_port,
                 "Port at which the pods send lost events again; 0: they do not.")
          .range(0, 65'535)
          .field("ranks", FieldKind::kInteger, &KvEventsConfig::ranks,
                 "Data-parallel ranks of a pod. Each publishes and replays at the next port.")
          .range(1, 1'024)
          .field("topic", FieldKind::kText, &KvEventsConfig::topic,
                 "Only messages whose topic begins with this.")
          .field("tokenize", FieldKind::kFlag, &KvEventsConfig::tokenize,
                 "Whether pods are asked for the token ids of text prompts (`POST /tokenize`, "
                 "beside the request), without which events match prompts of ids alone.");
  return described;
}

Split split_from_name(std::string_view name) {
  if (name == "always") return Split::kAlways;
  if (name == "never") return Split::kNever;
  return Split::kAuto;
}

std::string_view name_of_split(Split split) {
  switch (split) {
    case Split::kAuto: return "auto";
    case Split::kAlways: return "always";
    case Split::kNever: return "never";
  }
  return "auto";
}

const ObjectSpec& pool_spec() {
  static const ObjectSpec described =
      Describe<PoolConfig>("Pool")
          .field("name", FieldKind::kText, &PoolConfig::name,
                 "Unique in the file; labels metrics and logs.")
          .required()
          .field("model", FieldKind::kText, &PoolConfig::model,
                 "The model name of OpenAI requests for this pool.")
          .required()
          .field("aliases", FieldKind::kTextList, &PoolConfig::aliases,
                 "Further model names that mean the same.")
          .field(
              "connector", FieldKind::kChoice, &PoolConfig::connector,
              "The hand-off protocol that the pods speak: `baton` is that of `baton pod`; "
              "`vllm-nixl`, `vllm-nixl-push` and `vllm-mooncake` are those of vLLM with its "
              "NixlConnector, NixlPushConnector and MooncakeConnector, `sglang` that of SGLang's "
              "disaggregation modes, `trtllm` that of TensorRT-LLM's context and generation "
              "servers; with `plain` nothing is handed over.")
          .choices(adapters::connector_names())
          .field(
              "split", FieldKind::kChoice,
              [](PoolConfig& pool, const std::string& name) { pool.split = split_from_name(name); },
              [](const PoolConfig& pool) { return name_of_split(pool.split); },
              "Whether prompts are computed on another pod than the one that decodes: `auto` "
              "decides by predicted cost, `always` and `never` do not.")
          .choices({"auto", "always", "never"})
          .section("policy", policy_spec(), "Picking policies.")
          .object("slo", &PoolConfig::slo, slo_spec(), "Objectives that picking works towards.")
          .duration("empty_wait_seconds", &PoolConfig::empty_wait, 0, kDay,
                    "How long a request waits while the pool has no usable pod.")
          .object("health", &PoolConfig::health, health_spec(), "When pods are ejected.")
          .object("timeouts", &PoolConfig::timeouts, timeouts_spec(),
                  "Timeouts of requests to pods.")
          .duration("lease_seconds", &PoolConfig::lease, 0.1, kDay,
                    "How long prefill pods keep the blocks of an answered prompt, where their "
                    "engine does so for a time (vLLM's `kv_lease_duration`). A hand-off that "
                    "could no longer begin within it is done again.")
          .object("kv_events", &PoolConfig::kv_events, kv_events_spec(),
                  "Where pods tell what their prefix caches hold (vLLM and SGLang, started with "
                  "`--kv-events-config`).")
          .list("prefill", &PoolConfig::prefill, pod_spec(), "Pods that compute prompts.")
          .list("decode", &PoolConfig::decode, pod_spec(), "Pods that produce tokens.")
          .list("both", &PoolConfig::both, pod_spec(), "Pods that do both.")
          .list("loras", &PoolConfig::loras, lora_spec(), "LoRA adapters of the model.");
  return described;
}

const ObjectSpec& limits_spec() {
  static const ObjectSpec described =
      Describe<LimitsConfig>("Limits of the data port")
          .field("body_bytes", FieldKind::kSize, &LimitsConfig::body, "Largest request body.")
          .range(1'024, 4.0 * (1LL << 30))
          .duration("header_seconds", &LimitsConfig::header, 0.1, 3'600,
                    "Time a client has to send a request's head.")
          .field("stream_buffer_bytes", FieldKind::kSize, &LimitsConfig::stream_buffer,
                 "Answer held for a client that reads slowly, before its pod is made to wait.")
          .range(1'024, 1LL << 30)
          .field("connections", FieldKind::kInteger, &LimitsConfig::connections,
                 "Client connections open at once.")
          .range(1, 10'000'000);
  return described;
}

const ObjectSpec& admin_spec() {
  static const ObjectSpec described =
      Describe<Config>("Admin port")
          .endpoint("listen", &Config::admin,
                    "`HOST:PORT` of metrics, probes, pods, plan and "
                    "drain. It has no authentication: keep it on "
                    "loopback or a private network.");
  return described;
}

const ObjectSpec& log_spec() {
  static const ObjectSpec described =
      Describe<Config>("Log")
          .field("level", FieldKind::kChoice, &Config::log_level, "Least level that is written.")
          .choices({"debug", "info", "warn", "error"})
          .field("format", FieldKind::kChoice, &Config::log_format,
                 "`text`, or one JSON object a line.")
          .choices({"text", "json"});
  return described;
}

}  // namespace

const ObjectSpec& config_spec() {
  static const ObjectSpec described =
      Describe<Config>("Configuration file")
          .endpoint("listen", &Config::listen, "`HOST:PORT` of the OpenAI API.")
          .section("admin", admin_spec(), "The admin port.")
          .field("threads", FieldKind::kInteger, &Config::threads,
                 "Threads that serve requests; 0: one per core.")
          .range(0, 1'024)
          .field("expose_plan", FieldKind::kFlag, &Config::expose_plan,
                 "Whether answers name the pods (`x-baton-prefill`, `x-baton-decode`) and explain "
                 "themselves to `x-baton-explain: 1`.")
          .field("retry_budget", FieldKind::kNumber, &Config::retry_budget,
                 "Retries per request, at most, over all requests.")
          .range(0, 1)
          .field("prefix_index_bytes", FieldKind::kSize, &Config::prefix_index,
                 "Memory bound of the index of prompt prefixes that pods hold.")
          .range(1 << 20, 1LL << 40)
          .duration("drain_timeout_seconds", &Config::drain_timeout, 0, kDay,
                    "How long open streams may go on after SIGTERM.")
          .section("log", log_spec(), "The log, on standard error.")
          .object("limits", &Config::limits, limits_spec(), "Limits of the data port.")
          .list("pools", &Config::pools, pool_spec(), "One pool for each base model.")
          .required();
  return described;
}

}  // namespace baton::orchestrator
