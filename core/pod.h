#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.h"

namespace baton {

enum class Role : std::uint8_t { kPrefill, kDecode, kBoth };

[[nodiscard]] constexpr bool can_prefill(Role role) { return role != Role::kDecode; }
[[nodiscard]] constexpr bool can_decode(Role role) { return role != Role::kPrefill; }
[[nodiscard]] std::string_view name_of(Role role);
[[nodiscard]] std::optional<Role> role_from_name(std::string_view name);

// What an engine says of itself, learnt from its own endpoints when the pod is first seen and again
// whenever `epoch` changes. Which pods can exchange KV is told by pairing.h.
struct EngineFacts {
  Bytes bytes_per_token{0};
  Tokens block_tokens{0};      // tokens in one KV block; 0: unknown
  Tokens max_context{0};       // longest prompt plus answer; 0: unknown
  std::string engine_id;       // unique to one pod over its restarts
  std::uint64_t epoch = 0;     // changes at every start of the process
  std::string engine_version;  // engine name and version
  std::string model_hash;      // fingerprint of the weights
  std::uint64_t layout_hash = 0;
  std::string kv_address;     // host:port of the hand-off control service; empty: none
  int tensor_parallel = 0;    // ranks that hold a share of each block; 0: unknown
  int pipeline_parallel = 0;  // stages that hold some of the layers; 0: unknown
  // Of each data-parallel rank, where they are engines of their own to decode pods; else empty.
  std::vector<std::string> rank_engine_ids{};
  std::vector<std::string> served{};  // model names and adapters it answers to; empty: unknown
  bool operator==(const EngineFacts&) const = default;

  // Of so many tokens; no more than a number holds, whatever the engine tells.
  [[nodiscard]] Bytes kv_bytes(Tokens tokens) const;
};

// One running model server: identity and address. Immutable once in a snapshot.
struct Pod {
  Role role = Role::kBoth;
  int max_running = 64;  // requests that the router lets run on it at once
  EngineFacts facts;
  std::string name;  // unique in its pool; the only form in which clients see a pod
  std::string url;   // http://host:port as configured
  std::string host;  // of `url`
  std::uint16_t port = 0;
  std::map<std::string, std::string> labels;
  std::uint16_t bootstrap_port = 8998;  // where engines find each other, if theirs is fixed before
  std::uint16_t kv_events_port = 0;     // where it publishes its KV events; 0: as its pool says
  std::uint16_t kv_replay_port = 0;
  std::string health_path = "/health";
  std::string metrics_path;  // empty: where its engine serves them
};

enum class Health : std::uint8_t {
  kUnknown,   // not yet heard of
  kHealthy,   // takes requests
  kEjected,   // failed its checks or too many requests; taken back when checks pass
  kDraining,  // finishes what it has, takes nothing new
};
[[nodiscard]] std::string_view name_of(Health health);

// What is known of a pod's load from its own metrics, with the time of the observation. What the
// router itself has in flight there is in picking/pod_load.h, which is exact and has no age.
struct PodState {
  Health health = Health::kUnknown;
  Tokens kv_capacity{0};                 // that all KV blocks hold; 0: unknown
  std::string unusable_because;          // why it takes no requests however healthy; empty: it does
  std::optional<TimePoint> observed_at;  // of the figures below; none: never scraped
  int running = 0;
  int waiting = 0;        // for room in a step, where the engine tells that apart
  int deferred = 0;       // for what no room would bring: KV of another pod, the peer, an adapter
  double kv_usage = 0.0;  // share of KV blocks in use, 0 to 1
  Tokens prefix_queries{0};  // prompt tokens looked up in the prefix cache since the start
  Tokens prefix_hits{0};     // and found there
  std::vector<std::string> running_loras;   // adapters of running requests
  std::vector<std::string> waiting_loras;   // of waiting ones
  std::vector<std::string> resident_loras;  // loaded, idle ones too, where the engine tells
  int lora_slots_used = 0;                  // by loaded adapters; 0: unknown, or none
  int max_loras = 0;

  [[nodiscard]] bool takes_requests() const {
    return health == Health::kHealthy && unusable_because.empty();
  }
};

// What is read of a thousand pods for each request comes first, in it and in its parts.
struct PodEntry {
  std::uint32_t index = 0;  // dense, stable while the pod is configured; keys the prefix index
  Pod pod;
  PodState state;
};

// Every pod of one pool at one moment. Shared between threads as an immutable value; the control
// thread swaps a new one in.
struct Snapshot {
  std::uint64_t version = 0;
  std::string pool;
  std::vector<std::shared_ptr<const PodEntry>> pods;
};

// Tokens in a block of the pool's token chains: those of its first pod that tells. 0: none does.
[[nodiscard]] Tokens block_tokens_of(const Snapshot& snapshot);

}  // namespace baton
