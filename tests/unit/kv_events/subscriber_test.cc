#include "adapters/kv_events/subscriber.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "adapters/kv_events/kv_event_metrics.h"
#include "adapters/kv_events/publisher.h"
#include "core/prompt_blocks.h"

namespace baton::adapters {
namespace {

using namespace std::chrono_literals;
namespace rows = kv_event_metrics;

constexpr std::uint32_t kPod = 5;
constexpr std::size_t kBlock = 4;

std::vector<TokenId> ids(TokenId first, std::size_t count) {
  std::vector<TokenId> made(count);
  std::ranges::generate(made, [next = first]() mutable { return next++; });
  return made;
}

// One block at the place `depth` of the prompt that begins with the token `first`.
KvEvent stored(TokenId first, std::size_t depth) {
  KvBlocksStored event;
  const auto hash = [first](std::size_t at) {
    return 1000 * (static_cast<std::uint64_t>(first) + 1) + at;
  };
  event.blocks = {hash(depth)};
  if (depth > 0) event.parent = hash(depth - 1);
  event.tokens = ids(first + static_cast<TokenId>(depth * kBlock), kBlock);
  event.block_tokens = kBlock;
  return event;
}

bool comes_true(const std::function<bool()>& condition) {
  for (const auto end = Clock::now() + 10s; Clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

class SubscriberTest : public testing::Test {
 protected:
  std::unique_ptr<KvEventPublisher> publisher(KvEventPublisher::Options options) {
    auto made = KvEventPublisher::bind(std::move(options));
    EXPECT_TRUE(made);
    return made ? std::move(*made) : nullptr;
  }

  static KvEventFeed feed_of(const KvEventPublisher& from) {
    KvEventFeed feed;
    feed.pool = "chat";
    feed.pod = "p0";
    feed.index = kPod;
    feed.host = "127.0.0.1";
    feed.port = from.port();
    feed.replay_port = from.replay_port();
    feed.block_tokens = Tokens(kBlock);
    return feed;
  }

  std::uint32_t held(TokenId first) {
    const auto chain =
        PromptBlocks::from_tokens(ids(first, 40), Tokens(kBlock), {}, {}).token_chain;
    return prefixes_.match(chain, std::vector<std::uint32_t>{kPod}, Clock::now()).front();
  }
  void expect_held(TokenId first, std::uint32_t blocks) {
    EXPECT_TRUE(comes_true([&] { return held(first) == blocks; }))
        << held(first) << " blocks of " << first << ", not " << blocks;
  }
  double counted(const MetricSpec& spec, std::string last_label = {}) {
    LabelValues labels = {"chat", "p0"};
    if (!last_label.empty()) labels.push_back(std::move(last_label));
    return metrics_.counter(spec, labels).Value();
  }

  PrefixIndex prefixes_{Bytes(4 << 20)};
  Metrics metrics_;
  KvEventSubscriber subscriber_{prefixes_, metrics_};
};

class EveryPublisher : public SubscriberTest,
                       public testing::WithParamInterface<KvEventEncoding> {};

TEST_P(EveryPublisher, FeedsTheIndexFromReplayAndLive) {
  KvEventPublisher::Options options;
  options.encoding = GetParam();
  options.replay_has_topic = GetParam() != KvEventEncoding::kSglang;
  const auto from = publisher(std::move(options));
  from->publish({stored(0, 0), stored(0, 1)});
  subscriber_.set_feeds({feed_of(*from)});
  expect_held(0, 2);
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1; }));
  from->publish({stored(0, 2), stored(100, 0)});
  expect_held(0, 3);
  expect_held(100, 1);
  KvBlocksRemoved removed;
  removed.blocks = {1001};
  from->publish({removed});
  expect_held(0, 1);
  from->publish({KvBlocksCleared{}});
  expect_held(0, 0);
  EXPECT_EQ(counted(rows::kEvents, "stored"), 4);
  EXPECT_EQ(counted(rows::kEvents, "removed"), 1);
  EXPECT_EQ(counted(rows::kEvents, "cleared"), 1);
  EXPECT_EQ(counted(rows::kBlocks, "stored"), 4);
  EXPECT_EQ(counted(rows::kGaps), 0);
}

INSTANTIATE_TEST_SUITE_P(Encodings, EveryPublisher,
                         testing::Values(KvEventEncoding::kVllmMap, KvEventEncoding::kVllmBytes,
                                         KvEventEncoding::kVllmArray, KvEventEncoding::kSglang));

TEST_F(SubscriberTest, AsksForLostBatchesAgain) {
  const auto from = publisher({});
  subscriber_.set_feeds({feed_of(*from)});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1 && from->replays() == 1; }));
  from->publish({stored(0, 0)});
  expect_held(0, 1);
  from->publish_lost({stored(0, 1)});
  from->publish_lost({stored(0, 2)});
  from->publish({stored(0, 3)});
  expect_held(0, 4);
  EXPECT_EQ(from->replays(), 2U);
  EXPECT_TRUE(comes_true([&] { return counted(rows::kReplays, "filled") == 2; }));
  EXPECT_EQ(counted(rows::kGaps), 1);
  EXPECT_EQ(counted(rows::kResets, "gap"), 0);
}

TEST_F(SubscriberTest, ForgetsWhatThePublishersBufferCannotFill) {
  KvEventPublisher::Options options;
  options.buffered_batches = 2;
  const auto from = publisher(std::move(options));
  subscriber_.set_feeds({feed_of(*from)});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1 && from->replays() == 1; }));
  from->publish({stored(0, 0)});
  expect_held(0, 1);
  for (int i = 0; i < 3; ++i) from->publish_lost({stored(100, 0)});
  from->publish({stored(200, 0)});
  expect_held(200, 1);
  expect_held(0, 0);
  expect_held(100, 1);  // the last of the lost ones was still there
  EXPECT_EQ(counted(rows::kResets, "gap"), 1);
  EXPECT_TRUE(comes_true([&] { return counted(rows::kReplays, "short") == 1; }));
}

TEST_F(SubscriberTest, WithoutAReplayPortAGapForgets) {
  KvEventPublisher::Options options;
  options.has_replay = false;
  const auto from = publisher(std::move(options));
  subscriber_.set_feeds({feed_of(*from)});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1; }));
  from->publish({stored(0, 0)});
  expect_held(0, 1);
  from->publish_lost({stored(0, 1)});
  from->publish({stored(100, 0)});
  expect_held(100, 1);
  expect_held(0, 0);
  EXPECT_EQ(counted(rows::kGaps), 1);
}

TEST_F(SubscriberTest, ARestartedPublisherIsFoundAgainAndFollowedAnew) {
  auto from = publisher({});
  const KvEventFeed feed = feed_of(*from);
  subscriber_.set_feeds({feed});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1 && from->replays() == 1; }));
  from->publish({stored(0, 0)});
  from->publish({stored(0, 1)});
  expect_held(0, 2);
  from.reset();
  KvEventPublisher::Options same;
  same.port = feed.port;
  same.replay_port = feed.replay_port;
  from = publisher(std::move(same));
  ASSERT_NE(from, nullptr);
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1; }));
  from->publish({stored(100, 0)});
  expect_held(100, 1);
  expect_held(0, 0);
  EXPECT_EQ(counted(rows::kResets, "restart"), 1);
  // The registry saw the restart too, and had the index forget the pod.
  prefixes_.forget_pod(kPod);
  KvEventFeed restarted = feed;
  restarted.epoch = 1;
  subscriber_.set_feeds({restarted});
  expect_held(100, 1);
}

TEST_F(SubscriberTest, ANewProcessIsReadFromItsBeginning) {
  const auto from = publisher({});
  KvEventFeed feed = feed_of(*from);
  from->publish({stored(0, 0)});
  subscriber_.set_feeds({feed});
  expect_held(0, 1);
  prefixes_.forget_pod(kPod);
  feed.epoch = 1;
  subscriber_.set_feeds({feed});
  expect_held(0, 1);
  EXPECT_EQ(from->replays(), 2U);
}

TEST_F(SubscriberTest, FollowsEachRankOnItsPort) {
  KvEventPublisher::Options options;
  options.has_replay = false;
  auto first = publisher(options);
  // The next port may be taken: then another pair is tried.
  auto second = Result<std::unique_ptr<KvEventPublisher>>(nullptr);
  for (int tries = 0; tries < 50; ++tries) {
    options.port = static_cast<std::uint16_t>(first->port() + 1);
    options.rank = 1;
    second = KvEventPublisher::bind(options);
    if (second) break;
    options.port = 0;
    first = publisher(options);
  }
  ASSERT_TRUE(second);
  KvEventFeed feed = feed_of(*first);
  feed.ranks = 2;
  subscriber_.set_feeds({feed});
  ASSERT_TRUE(
      comes_true([&] { return first->subscribers() == 1 && (*second)->subscribers() == 1; }));
  first->publish({stored(0, 0)});
  (*second)->publish({stored(0, 0)});
  (*second)->publish({stored(100, 0)});
  expect_held(0, 1);
  expect_held(100, 1);
  (*second)->publish({KvBlocksCleared{}});
  expect_held(100, 0);
  expect_held(0, 1);
}

TEST_F(SubscriberTest, TakesOnlyItsTopic) {
  KvEventPublisher::Options options;
  options.topic = "kv@p0@m";
  const auto from = publisher(std::move(options));
  KvEventFeed feed = feed_of(*from);
  feed.topic = "kv@p0";
  subscriber_.set_feeds({feed});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1; }));
  from->publish({stored(0, 0)});
  expect_held(0, 1);
}

TEST_F(SubscriberTest, WhatCannotBeReadForgetsThePod) {
  const auto from = publisher({});
  subscriber_.set_feeds({feed_of(*from)});
  ASSERT_TRUE(comes_true([&] { return from->subscribers() == 1; }));
  from->publish({stored(0, 0)});
  expect_held(0, 1);
  from->publish_raw("\x93garbage");
  expect_held(0, 0);
  EXPECT_EQ(counted(rows::kDecodeErrors), 1);
  from->publish({stored(100, 0)});
  expect_held(100, 1);
}

TEST_F(SubscriberTest, APodThatIsNoLongerFollowedIsForgotten) {
  const auto from = publisher({});
  from->publish({stored(0, 0)});
  subscriber_.set_feeds({feed_of(*from)});
  expect_held(0, 1);
  subscriber_.set_feeds({});
  expect_held(0, 0);
  EXPECT_TRUE(comes_true([&] { return from->subscribers() == 0; }));
}

}  // namespace
}  // namespace baton::adapters
