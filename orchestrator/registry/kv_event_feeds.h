#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/kv_events/subscriber.h"
#include "core/metrics.h"
#include "core/picking/prefix_index.h"
#include "core/pod.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

// The pods of a pool whose KV events can be followed: those that publish, were heard of, and whose
// pool's block size is known.
[[nodiscard]] std::vector<adapters::KvEventFeed> kv_event_feeds(const PoolConfig& pool,
                                                                const Snapshot& snapshot);

// Keeps the prefix index fed from the KV events of the configured pods as these come, restart and
// go. Owned by the router, lives on the control thread; borrows the shared tables, which outlive
// it.
class KvEventFeeds {
 public:
  KvEventFeeds(PrefixIndex& prefixes, Metrics& metrics) : subscriber_(prefixes, metrics) {}

  // Snapshots of all its pools follow.
  void set_config(std::shared_ptr<const Config> config);
  void set_snapshot(const std::shared_ptr<const Snapshot>& snapshot);

 private:
  void tell();

  std::shared_ptr<const Config> config_;
  std::map<std::string, std::vector<adapters::KvEventFeed>> feeds_;  // by pool
  adapters::KvEventSubscriber subscriber_;
};

}  // namespace baton::orchestrator
