#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv_transfer/arena.h"
#include "kv_transfer/kv_metrics.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/node.h"
#include "kv_transfer/peers.h"

namespace baton::kv {

// What every ReceiveSession of a Node works with. All of it outlives the sessions.
struct ReceiveContext {
  Loop loop;
  const NodeOptions& options;
  BlockArena& arena;
  PeerTable& peers;
  KvMetrics& metrics;
  std::function<ReaderKey()> draw_reader;
};

// One transfer being received: follows the producer's lease, pulls the blocks that are not held as
// they are published, verifies them and hands them on. A connection that breaks is made again, and
// only what is missing is fetched; a block that came wrong is fetched again. Lives on the kv
// thread, kept by the Node until its end and by its own callbacks until the last piece has settled.
// Promises: exactly one on_end(); a slot that was not handed on is given back, but never while a
// transport may still write to it; the producer is told only then that this reader has gone.
class ReceiveSession : public std::enable_shared_from_this<ReceiveSession> {
 public:
  ReceiveSession(const ReceiveContext& context, ReceiveRequest request,
                 std::shared_ptr<Receiver> receiver, std::function<void()> ended);

  void begin();
  void cancel(Error reason);

 private:
  struct Block {
    std::uint32_t index = 0;
    BlockDescriptor remote;
  };
  struct UnderWay {
    BlockDescriptor remote;
    SlotRef local;
    int fetches = 1;
  };

  void connect();
  void acquired(Result<std::shared_ptr<Peer>> peer);
  void on_event(Result<wire::Event> event);
  void on_published(const wire::Published& published);
  void on_sealed(const wire::Sealed& sealed);
  [[nodiscard]] bool is_acceptable(const BlockDescriptor& block) const;
  [[nodiscard]] std::size_t bytes_here(const BlockDescriptor& remote) const;
  [[nodiscard]] std::span<std::byte> place_of(const UnderWay& piece) const;
  void pull();
  void fetch(std::vector<BlockRead> reads);
  void wait_for_slots();
  void arrived(std::uint32_t index, const Result<void>& result);
  void took(std::uint32_t index, const UnderWay& piece);
  void change_under_way(std::int64_t bytes);
  void failed_to_come(const Error& reason);
  // The connection to the producer broke: goes on over another one, once nothing is under way.
  void interrupt(const Error& reason);
  void go_on_when_settled();
  void finish_if_complete();
  void watch_heartbeat();
  void fell_silent();
  void end(Result<ReceiveSummary> result);
  // Which transfer and which peer an error is about.
  [[nodiscard]] std::unexpected<Error> named(Error error) const;
  void log_end(const Result<ReceiveSummary>& result) const;
  void detach_when_settled();

  const ReceiveContext context_;
  const ReceiveRequest request_;
  const std::size_t slice_bytes_;  // of each block; 0: whole blocks
  const std::shared_ptr<Receiver> receiver_;
  std::function<void()> ended_;  // set: on_end() has not been called yet
  TimePoint begun_{};

  // Of the connection at present.
  ReaderKey reader_ = 0;
  std::shared_ptr<Peer> peer_;
  std::shared_ptr<FollowCall> follow_;
  std::uint32_t next_index_ = 0;  // of the next block to be published
  bool sealed_ = false;
  std::optional<Error> interruption_;  // set: it broke
  bool going_on_ = false;              // another one is about to be made
  int connections_ = 0;

  std::deque<Block> wanted_;
  std::unordered_map<std::uint32_t, UnderWay> under_way_;  // by index; a transport writes to them
  std::size_t bytes_under_way_ = 0;
  std::vector<bool> arrived_;  // by index; held ones count
  ReceiveSummary summary_;
  Duration posting_{};                    // time spent in Link::fetch()
  std::optional<wire::Outcome> outcome_;  // what the producer is told in the end, if anything
  bool detached_ = false;

  boost::asio::steady_timer deadline_;
  boost::asio::steady_timer heartbeat_;
  boost::asio::steady_timer slots_;
  boost::asio::steady_timer back_off_;
  TimePoint last_sign_{};           // of the producer
  bool may_have_been_cut_ = false;  // the connection was there before, and nothing has come over it
  bool waiting_for_slots_ = false;
};

}  // namespace baton::kv
