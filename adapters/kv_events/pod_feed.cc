#include "adapters/kv_events/pod_feed.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

#include "adapters/kv_events/event_decoder.h"
#include "adapters/kv_events/kv_event_metrics.h"
#include "core/log.h"

namespace baton::adapters {
namespace {

namespace rows = kv_event_metrics;

constexpr std::uint64_t kReplayEndNumber = std::numeric_limits<std::uint64_t>::max();  // −1

constexpr int kFirstRetryMs = 100;
constexpr int kLastRetryMs = 5'000;
constexpr int kHeartbeatMs = 5'000;
constexpr int kHeartbeatTimeoutMs = 15'000;

void set_up(ZmqSocket& socket) {
  socket.set(ZMQ_RCVHWM, KvEventSubscriber::kHighWater);
  socket.set(ZMQ_RECONNECT_IVL, kFirstRetryMs);
  socket.set(ZMQ_RECONNECT_IVL_MAX, kLastRetryMs);
  socket.set(ZMQ_HEARTBEAT_IVL, kHeartbeatMs);  // finds peers that are gone without a word
  socket.set(ZMQ_HEARTBEAT_TIMEOUT, kHeartbeatTimeoutMs);
  const std::int64_t longest = KvEventSubscriber::kLongestMessage;
  zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &longest, sizeof longest);
}

std::uint16_t port_of(std::uint16_t first, std::size_t rank) {
  return static_cast<std::uint16_t>(first + rank);
}

}  // namespace

PodFeed::Counters::Counters(Metrics& metrics, const KvEventFeed& feed)
    : stored(metrics.counter(rows::kEvents, {feed.pool, feed.pod, "stored"})),
      removed(metrics.counter(rows::kEvents, {feed.pool, feed.pod, "removed"})),
      cleared(metrics.counter(rows::kEvents, {feed.pool, feed.pod, "cleared"})),
      unknown(metrics.counter(rows::kEvents, {feed.pool, feed.pod, "unknown"})),
      held(metrics.gauge(rows::kBlocksHeld, {feed.pool, feed.pod})),
      gaps(metrics.counter(rows::kGaps, {feed.pool, feed.pod})),
      undecodable(metrics.counter(rows::kResets, {feed.pool, feed.pod, "undecodable"})),
      decode_errors(metrics.counter(rows::kDecodeErrors, {feed.pool, feed.pod})) {
  for (std::size_t i = 0; i < kKvBlockFates; ++i) {
    const auto fate = static_cast<KvBlockFate>(i);
    blocks[i] = &metrics.counter(rows::kBlocks, {feed.pool, feed.pod, std::string(name_of(fate))});
  }
  constexpr std::array<const char*, 3> kReplayEnds = {"filled", "short", "failed"};
  constexpr std::array<const char*, 3> kReasons = {"gap", "restart", "backlog"};
  for (std::size_t i = 0; i < 3; ++i) {
    replays[i] = &metrics.counter(rows::kReplays, {feed.pool, feed.pod, kReplayEnds[i]});
    resets[i] = &metrics.counter(rows::kResets, {feed.pool, feed.pod, kReasons[i]});
  }
}

PodFeed::PodFeed(const ZmqContext& context, KvEventFeed feed, PrefixIndex& prefixes,
                 Metrics& metrics, TimePoint now)
    : context_(context),
      feed_(std::move(feed)),
      index_(prefixes, feed_.index, feed_.block_tokens, static_cast<std::size_t>(feed_.ranks)),
      counters_(metrics, feed_) {
  ranks_.reserve(static_cast<std::size_t>(feed_.ranks));
  for (std::size_t i = 0; i < static_cast<std::size_t>(feed_.ranks); ++i) {
    Rank& rank = ranks_.emplace_back(feed_.replay_port != 0);
    rank.number = i;
    connect(context, rank);
    carry_out(rank, rank.stream.begin(now), now);
  }
}

PodFeed::~PodFeed() {
  for (const Rank& rank : ranks_) index_.clear(rank.number);
  counters_.held.Set(0);
}

void PodFeed::connect(const ZmqContext& context, Rank& rank) {
  rank.live = std::make_unique<ZmqSocket>(context, ZMQ_SUB);
  set_up(*rank.live);
  rank.live->set(ZMQ_SUBSCRIBE, feed_.topic);
  const auto connected = rank.live->connect(feed_.host, port_of(feed_.port, rank.number));
  if (connected) return;
  log(LogLevel::kError, "KV events cannot be had",
      {{"pool", feed_.pool}, {"pod", feed_.pod}, {"why", connected.error().message}});
}

void PodFeed::set_epoch(std::uint64_t epoch, TimePoint now) {
  if (std::exchange(feed_.epoch, epoch) == epoch) return;
  for (Rank& rank : ranks_) carry_out(rank, rank.stream.on_new_process(now), now);
}

void PodFeed::add_poll_items(std::vector<zmq_pollitem_t>& items) const {
  for (const Rank& rank : ranks_) {
    items.push_back({rank.live->get(), 0, ZMQ_POLLIN, 0});
    if (rank.replay) items.push_back({rank.replay->get(), 0, ZMQ_POLLIN, 0});
  }
}

void PodFeed::read(TimePoint now) {
  for (Rank& rank : ranks_) {
    read_live(rank, now);
    if (rank.replay) read_replay(rank, now);
  }
}

void PodFeed::on_time(TimePoint now) {
  for (Rank& rank : ranks_) carry_out(rank, rank.stream.on_time(now), now);
}

TimePoint PodFeed::deadline() const {
  TimePoint first = TimePoint::max();
  for (const Rank& rank : ranks_) first = std::min(first, rank.stream.deadline());
  return first;
}

void PodFeed::read_live(Rank& rank, TimePoint now) {
  std::vector<std::string> frames;  // topic, number, payload
  for (int i = 0; i < kMessagesATurn && rank.live->receive(frames); ++i) {
    if (frames.size() != 3 || frames[1].size() != 8) {
      counters_.decode_errors.Increment();
      continue;
    }
    const std::uint64_t number = from_big_endian_64(frames[1]);
    carry_out(rank, rank.stream.on_live(number, std::move(frames[2]), now), now);
  }
}

// An empty frame, the topic where the publisher is of July 2026 or later, number, payload.
void PodFeed::read_replay(Rank& rank, TimePoint now) {
  std::vector<std::string> frames;
  for (int i = 0; i < kMessagesATurn && rank.replay && rank.replay->receive(frames); ++i) {
    const std::size_t count = frames.size();
    if (count < 3 || count > 4 || frames[count - 2].size() != 8) {
      counters_.decode_errors.Increment();
      continue;
    }
    const std::uint64_t number = from_big_endian_64(frames[count - 2]);
    carry_out(rank,
              number == kReplayEndNumber
                  ? rank.stream.on_replay_end(now)
                  : rank.stream.on_replayed(number, std::move(frames[count - 1]), now),
              now);
  }
}

void PodFeed::carry_out(Rank& rank, StreamSteps steps, TimePoint now) {
  for (StreamStep& step : steps) {
    switch (step.kind) {
      case StreamStep::Kind::kApply: apply(rank, step.payload, now); break;
      case StreamStep::Kind::kReset:
        index_.clear(rank.number);
        counters_.resets[static_cast<std::size_t>(step.reset)]->Increment();
        break;
      case StreamStep::Kind::kConfirm: index_.confirm_all(now); break;
      case StreamStep::Kind::kAskReplay: ask_replay(rank, step.sequence); break;
      case StreamStep::Kind::kReplayEnded:
        rank.replay.reset();
        counters_.replays[static_cast<std::size_t>(step.replay)]->Increment();
        break;
      case StreamStep::Kind::kGap: counters_.gaps.Increment(); break;
    }
  }
  if (!steps.empty()) counters_.held.Set(static_cast<double>(index_.blocks_held()));
}

// A socket for each request: what is left of an earlier answer cannot be taken for this one's.
void PodFeed::ask_replay(Rank& rank, std::uint64_t from) {
  rank.replay = std::make_unique<ZmqSocket>(context_, ZMQ_DEALER);
  set_up(*rank.replay);
  const auto connected = rank.replay->connect(feed_.host, port_of(feed_.replay_port, rank.number));
  if (connected) rank.replay->send({"", big_endian_64(from)});
}

void PodFeed::apply(Rank& rank, const std::string& payload, TimePoint now) {
  const auto batch = decode_kv_events(payload);
  if (!batch) {
    counters_.decode_errors.Increment();
    counters_.undecodable.Increment();
    index_.clear(rank.number);
    return;
  }
  counters_.unknown.Increment(static_cast<double>(batch->unknown_events));
  for (const KvEvent& event : batch->events) count(event, index_.apply(rank.number, event, now));
}

void PodFeed::count(const KvEvent& event, const KvBlockTally& tally) {
  if (std::holds_alternative<KvBlocksStored>(event)) {
    counters_.stored.Increment();
  } else if (std::holds_alternative<KvBlocksRemoved>(event)) {
    counters_.removed.Increment();
  } else {
    counters_.cleared.Increment();
  }
  for (std::size_t i = 0; i < kKvBlockFates; ++i) {
    if (tally[i] > 0) counters_.blocks[i]->Increment(static_cast<double>(tally[i]));
  }
}

}  // namespace baton::adapters
