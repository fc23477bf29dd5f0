#pragma once

#include <zmq.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "adapters/kv_events/event_stream.h"
#include "adapters/kv_events/subscriber.h"
#include "adapters/kv_events/zmq_socket.h"
#include "core/picking/kv_event_index.h"

namespace baton::adapters {

// One pod's feed on the subscriber's thread: a socket and a stream for each rank, and the view of
// the pod's blocks that they build. What it told the prefix index is retracted with it.
class PodFeed {
 public:
  PodFeed(const ZmqContext& context, KvEventFeed feed, PrefixIndex& prefixes, Metrics& metrics,
          TimePoint now);
  ~PodFeed();
  PodFeed(const PodFeed&) = delete;
  PodFeed& operator=(const PodFeed&) = delete;

  [[nodiscard]] const KvEventFeed& feed() const { return feed_; }
  void set_epoch(std::uint64_t epoch, TimePoint now);

  // Sockets that a message may come on, to be polled for ZMQ_POLLIN.
  void add_poll_items(std::vector<zmq_pollitem_t>& items) const;
  // Reads what came, at most kMessagesATurn of each socket; there may be more.
  void read(TimePoint now);
  void on_time(TimePoint now);
  [[nodiscard]] TimePoint deadline() const;

 private:
  static constexpr int kMessagesATurn = 64;

  struct Rank {
    explicit Rank(bool has_replay) : stream(has_replay) {}
    std::size_t number = 0;
    EventStream stream;
    std::unique_ptr<ZmqSocket> live;
    std::unique_ptr<ZmqSocket> replay;  // one for each request; null: none is under way
  };
  struct Counters {
    Counters(Metrics& metrics, const KvEventFeed& feed);
    prometheus::Counter& stored;
    prometheus::Counter& removed;
    prometheus::Counter& cleared;
    prometheus::Counter& unknown;
    std::array<prometheus::Counter*, kKvBlockFates> blocks{};
    prometheus::Gauge& held;
    prometheus::Counter& gaps;
    std::array<prometheus::Counter*, 3> replays{};  // by ReplayEnd
    std::array<prometheus::Counter*, 3> resets{};   // by ResetReason
    prometheus::Counter& undecodable;
    prometheus::Counter& decode_errors;
  };

  void connect(const ZmqContext& context, Rank& rank);
  void read_live(Rank& rank, TimePoint now);
  void read_replay(Rank& rank, TimePoint now);
  void carry_out(Rank& rank, StreamSteps steps, TimePoint now);
  void ask_replay(Rank& rank, std::uint64_t from);
  void apply(Rank& rank, const std::string& payload, TimePoint now);
  void count(const KvEvent& event, const KvBlockTally& tally);

  const ZmqContext& context_;
  KvEventFeed feed_;
  KvEventIndex index_;
  Counters counters_;
  std::vector<Rank> ranks_;
};

}  // namespace baton::adapters
