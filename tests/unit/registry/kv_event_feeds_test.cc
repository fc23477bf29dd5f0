#include "orchestrator/registry/kv_event_feeds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "adapters/kv_events/publisher.h"
#include "core/prompt_blocks.h"

namespace baton::orchestrator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;

std::shared_ptr<const Config> config_of(const std::string& pools) {
  auto config = parse_config("pools:\n" + pools);
  EXPECT_TRUE(config) << format_issue("f", config.error().front());
  return std::make_shared<const Config>(std::move(*config));
}

std::shared_ptr<Snapshot> snapshot_of(const PoolConfig& pool, Tokens block_tokens) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->pool = pool.name;
  for (const Pod& pod : pool.pods()) {
    auto entry = std::make_shared<PodEntry>();
    entry->pod = pod;
    entry->pod.facts.block_tokens = block_tokens;
    entry->pod.facts.epoch = 9;
    entry->state.health = Health::kHealthy;
    entry->index = static_cast<std::uint32_t>(snapshot->pods.size());
    snapshot->pods.push_back(std::move(entry));
  }
  return snapshot;
}

const std::string kPool = R"(
  - name: chat
    model: m
    connector: plain
    kv_events: {port: 5557, replay_port: 5657, ranks: 2, topic: kv}
    prefill: [{name: p0, url: "http://10.0.0.1:8000"}]
    decode: [{name: d0, url: "http://10.0.0.1:8001", kv_events_port: 6557, kv_replay_port: 6657}]
)";

TEST(KvEventFeeds, TakesThePoolsPortsUnlessThePodHasItsOwn) {
  const auto config = config_of(kPool);
  const auto feeds = kv_event_feeds(config->pools[0], *snapshot_of(config->pools[0], Tokens(16)));
  ASSERT_THAT(feeds, SizeIs(2));
  EXPECT_EQ(feeds[0].pod, "p0");
  EXPECT_EQ(feeds[0].host, "10.0.0.1");
  EXPECT_EQ(feeds[0].port, 5557);
  EXPECT_EQ(feeds[0].replay_port, 5657);
  EXPECT_EQ(feeds[0].ranks, 2);
  EXPECT_EQ(feeds[0].topic, "kv");
  EXPECT_EQ(feeds[0].block_tokens, Tokens(16));
  EXPECT_EQ(feeds[0].epoch, 9U);
  EXPECT_EQ(feeds[1].port, 6557);
  EXPECT_EQ(feeds[1].replay_port, 6657);
  EXPECT_EQ(feeds[1].index, 1U);
}

TEST(KvEventFeeds, WaitsForBlockSizeAndFirstSign) {
  const auto config = config_of(kPool);
  const PoolConfig& pool = config->pools[0];
  EXPECT_THAT(kv_event_feeds(pool, *snapshot_of(pool, Tokens(0))), IsEmpty());
  const auto snapshot = snapshot_of(pool, Tokens(16));
  auto unheard = std::make_shared<PodEntry>(*snapshot->pods[0]);
  unheard->state.health = Health::kUnknown;
  snapshot->pods[0] = unheard;
  const auto feeds = kv_event_feeds(pool, *snapshot);
  ASSERT_THAT(feeds, SizeIs(1));
  EXPECT_EQ(feeds[0].pod, "d0");
}

TEST(KvEventFeeds, AreOffUnlessConfigured) {
  const auto config = config_of(R"(
  - name: chat
    model: m
    both: [{name: b0, url: "http://10.0.0.1:8000"}]
)");
  const PoolConfig& pool = config->pools[0];
  EXPECT_THAT(kv_event_feeds(pool, *snapshot_of(pool, Tokens(16))), IsEmpty());
}

TEST(KvEventFeeds, FollowPodsUntilTheirPoolIsGone) {
  auto publisher = adapters::KvEventPublisher::bind({});
  ASSERT_TRUE(publisher);
  KvBlocksStored stored;
  stored.blocks = {1};
  stored.tokens = {1, 2, 3, 4};
  stored.block_tokens = 4;
  (*publisher)->publish({stored});
  const auto config = config_of(R"(
  - name: chat
    model: m
    kv_events: {port: )" + std::to_string((*publisher)->port()) +
                                R"(, replay_port: )" + std::to_string((*publisher)->replay_port()) +
                                R"(}
    both: [{name: b0, url: "http://127.0.0.1:8000"}]
)");
  PrefixIndex prefixes(Bytes(1 << 20));
  Metrics metrics;
  KvEventFeeds feeds(prefixes, metrics);
  const auto chain = PromptBlocks::from_tokens(stored.tokens, Tokens(4), {}, {}).token_chain;
  const auto becomes = [&](std::uint32_t wanted) {
    for (const auto end = Clock::now() + 10s; Clock::now() < end;) {
      const auto held = prefixes.match(chain, std::vector<std::uint32_t>{0}, Clock::now());
      if (held.front() == wanted) return true;
      std::this_thread::sleep_for(1ms);
    }
    return false;
  };
  feeds.set_config(config);
  feeds.set_snapshot(snapshot_of(config->pools[0], Tokens(4)));
  EXPECT_TRUE(becomes(1));
  feeds.set_config(config_of(R"(
  - name: other
    model: m
    both: [{name: b0, url: "http://127.0.0.1:8000"}]
)"));
  EXPECT_TRUE(becomes(0));
}

}  // namespace
}  // namespace baton::orchestrator
