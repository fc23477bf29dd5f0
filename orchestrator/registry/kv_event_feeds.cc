#include "orchestrator/registry/kv_event_feeds.h"

#include <algorithm>
#include <utility>

namespace baton::orchestrator {

std::vector<adapters::KvEventFeed> kv_event_feeds(const PoolConfig& pool,
                                                  const Snapshot& snapshot) {
  std::vector<adapters::KvEventFeed> feeds;
  const Tokens block_tokens = block_tokens_of(snapshot);
  if (block_tokens.count() == 0) return feeds;
  const std::vector<Pod> configured = pool.pods();
  for (const auto& entry : snapshot.pods) {
    const auto pod = std::ranges::find(configured, entry->pod.name, &Pod::name);
    if (pod == configured.end() || entry->state.health == Health::kUnknown) continue;
    const std::uint16_t port = kv_events_port(pool, *pod);
    if (port == 0) continue;
    adapters::KvEventFeed& feed = feeds.emplace_back();
    feed.pool = pool.name;
    feed.pod = pod->name;
    feed.index = entry->index;
    feed.epoch = entry->pod.facts.epoch;
    feed.host = pod->host;
    feed.port = port;
    feed.replay_port = kv_replay_port(pool, *pod);
    feed.ranks = pool.kv_events.ranks;
    feed.topic = pool.kv_events.topic;
    feed.block_tokens = block_tokens;
  }
  return feeds;
}

void KvEventFeeds::set_config(std::shared_ptr<const Config> config) {
  config_ = std::move(config);
  const auto is_gone = [this](const auto& known) {
    return std::ranges::find(config_->pools, known.first, &PoolConfig::name) ==
           config_->pools.end();
  };
  if (std::erase_if(feeds_, is_gone) > 0) tell();
}

void KvEventFeeds::set_snapshot(const std::shared_ptr<const Snapshot>& snapshot) {
  const auto pool = std::ranges::find(config_->pools, snapshot->pool, &PoolConfig::name);
  if (pool == config_->pools.end()) return;
  std::vector<adapters::KvEventFeed> feeds = kv_event_feeds(*pool, *snapshot);
  std::vector<adapters::KvEventFeed>& known = feeds_[pool->name];
  if (known == feeds) return;
  known = std::move(feeds);
  tell();
}

void KvEventFeeds::tell() {
  std::vector<adapters::KvEventFeed> all;
  for (const auto& [pool, feeds] : feeds_) all.insert(all.end(), feeds.begin(), feeds.end());
  subscriber_.set_feeds(std::move(all));
}

}  // namespace baton::orchestrator
