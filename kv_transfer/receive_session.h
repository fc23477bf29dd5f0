#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

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
};

// One transfer being received: follows the producer's lease, pulls the blocks that are not held as
// they are published, verifies them and hands them on. Lives on the kv thread, kept by the Node
// until its end and by its own callbacks until the last piece has settled. Promises: exactly one
// on_end(); a slot that was not handed on is given back, but never while a transport may still
// write to it; the producer is told only then that this reader has gone.
class ReceiveSession : public std::enable_shared_from_this<ReceiveSession> {
 public:
  ReceiveSession(const ReceiveContext& context, ReceiveRequest request,
                 std::shared_ptr<Receiver> receiver, std::function<void()> ended);

  void begin(ReaderKey reader);
  void cancel(Error reason);

 private:
  struct Block {
    std::uint32_t index = 0;
    BlockDescriptor remote;
  };
  struct Piece {
    BlockDescriptor remote;
    SlotRef local;
  };

  void acquired(Result<std::shared_ptr<Peer>> peer);
  void on_event(Result<wire::Event> event);
  void on_published(const wire::Published& published);
  void on_sealed(const wire::Sealed& sealed);
  [[nodiscard]] bool is_acceptable(const BlockDescriptor& block) const;
  void pull();
  void wait_for_slots();
  void arrived(std::uint32_t index, const Result<void>& result);
  void finish_if_complete();
  void watch_heartbeat();
  void end(Result<ReceiveSummary> result);
  void log_end(const Result<ReceiveSummary>& result, Duration exposed) const;
  void detach_when_settled();

  const ReceiveContext context_;
  const ReceiveRequest request_;
  const std::shared_ptr<Receiver> receiver_;
  std::function<void()> ended_;  // set: on_end() has not been called yet
  ReaderKey reader_ = 0;
  TimePoint begun_{};

  std::shared_ptr<Peer> peer_;
  std::shared_ptr<FollowCall> follow_;
  std::deque<Block> wanted_;
  std::unordered_map<std::uint32_t, Piece> under_way_;  // by index; a transport writes to them
  std::uint32_t next_index_ = 0;                        // of the next block to be published
  bool sealed_ = false;
  ReceiveSummary summary_;
  std::optional<wire::Outcome> outcome_;  // what the producer is told in the end, if anything
  bool detached_ = false;

  boost::asio::steady_timer deadline_;
  boost::asio::steady_timer heartbeat_;
  boost::asio::steady_timer slots_;
  TimePoint last_sign_{};  // of the producer
  bool waiting_for_slots_ = false;
};

}  // namespace baton::kv
