#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/metrics.h"
#include "core/picking/prefix_index.h"
#include "core/units.h"

namespace baton::adapters {

// Where one pod publishes its KV events.
struct KvEventFeed {
  std::string pool;
  std::string pod;
  std::uint32_t index = 0;  // PodEntry::index
  std::uint64_t epoch = 0;  // EngineFacts::epoch
  std::string host;
  std::uint16_t port = 0;         // of rank 0; each further rank has the next
  std::uint16_t replay_port = 0;  // the same; 0: no replay
  int ranks = 1;
  std::string topic;  // messages whose topic begins with it; empty: all
  Tokens block_tokens{0};

  bool operator==(const KvEventFeed&) const = default;
  [[nodiscard]] bool same_source(KvEventFeed other) const;  // all but the epoch
};

// Feeds the prefix index from the KV events of pods: a thread that sleeps until a publisher sends,
// decodes and applies (core/picking/kv_event_index.h). Lost batches are asked for again where the
// pod has a replay port, else what the pod had told is forgotten. A pod that cannot be reached is
// tried for as long as it is fed from. Owned by the router; functions are called on its control
// thread. Memory for what waits is bounded by kHighWater messages a rank; beyond, the publisher
// drops, which shows as a gap.
class KvEventSubscriber {
 public:
  static constexpr int kHighWater = 10'000;
  static constexpr std::int64_t kLongestMessage = 32 << 20;

  // Both outlive it.
  KvEventSubscriber(PrefixIndex& prefixes, Metrics& metrics);
  ~KvEventSubscriber();
  KvEventSubscriber(const KvEventSubscriber&) = delete;
  KvEventSubscriber& operator=(const KvEventSubscriber&) = delete;

  // Feeds from these from now on, and no longer from others: what those had told is forgotten. A
  // feed that was there goes on; with another epoch it is of a new process.
  void set_feeds(std::vector<KvEventFeed> feeds);

 private:
  class Loop;

  PrefixIndex& prefixes_;
  Metrics& metrics_;
  std::unique_ptr<Loop> loop_;  // from the first feed on
  std::thread thread_;
};

}  // namespace baton::adapters
