#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/metrics.h"
#include "core/units.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/control_tls.h"
#include "kv_transfer/lease.h"
#include "kv_transfer/slices.h"
#include "kv_transfer/transport_names.h"

namespace baton::kv {

struct NodeOptions {
  std::string listen = "127.0.0.1:0";  // host:port of the control service; port 0 takes a free one
  std::string engine_id;
  std::uint64_t epoch = 0;        // changes at every start of the process
  std::uint64_t layout_hash = 0;  // KvLayout::hash(); peers of another layout are refused

  // Allowed, the preferred one first.
  std::vector<std::string> transports{kDefaultTransports.begin(), kDefaultTransports.end()};
  std::string require_transport;  // if set: a peer that cannot do this one is an error, no fallback
  int tcp_connections = 1;        // to each peer that is read over tcp, 1 to 4
  std::string ucx_tls = "tcp";    // UCX_TLS; must name transports with peer failure detection

  // Of the control service; empty: no TLS, and whoever reaches its port may ask for a transfer
  // whose id it knows.
  TlsFiles tls;

  Duration lease_ttl = std::chrono::seconds(10);      // of a sealed lease without a reader
  Duration wait_for_open = std::chrono::seconds(30);  // how long a reader waits for open_lease()
  Duration quarantine = std::chrono::seconds(3);  // longest wait for the reader of an aborted lease
  Duration heartbeat = std::chrono::seconds(1);   // three missed ones: the peer is lost
  Duration connect_timeout = std::chrono::seconds(3);  // of a handshake with a peer

  // Asks for `slots` slots of the arena to be freed, since a receive() waits for them. Runs on the
  // kv thread and must not block; nobody is told when it is done, the Node looks again every 2 ms.
  std::function<void(int slots)> on_shortage;
  // A lease has ended, kCommitted or kFreed, the latter for this reason. Runs on the kv thread and
  // must not block.
  std::function<void(TransferId, LeaseState, const Error&)> on_lease_end;

  Metrics* metrics = nullptr;  // outlives the Node; null: counted, but not to be seen
};

using ReceiveId = std::uint64_t;

struct ReceiveRequest {
  std::string peer;  // host:port of the producer's Node
  std::string engine_id;
  std::uint64_t epoch = 0;  // of the producer; another one answers kStale
  TransferId transfer;
  std::int64_t from_token = 0;  // the first token not held here; blocks that end before are skipped
  TimePoint deadline{};
  int priority = 0;  // of two that read from one peer, the larger one's blocks come first
  // What is wanted of each block; it lands packed. Null: the whole block, as it was published.
  Slices slices{};
};

struct ReceiveSummary {
  Bytes bytes{0};
  int blocks = 0;
  int held_blocks = 0;  // skipped, since they end before from_token
  std::string transport;
  Duration total{};                // from receive() to the last block
  TimePoint sealed_at{};           // when word came that prefill had finished
  Duration exposed{};              // from then to the last block
  std::int64_t prompt_tokens = 0;  // as the producer opened the lease
  std::int64_t cached_tokens = 0;  // of the producer
};

// Where a received transfer goes. Calls come from the Node's own thread and must not block.
class Receiver {
 public:
  virtual ~Receiver() = default;
  // One verified block, in a slot of the local arena with one pin that is now the receiver's, who
  // also frees the slot. Blocks may come out of order. None comes after on_end().
  virtual void on_block(const BlockDescriptor& block) = 0;
  // Runs exactly once. Codes: kCancelled, kTimeout (deadline), kStale (lease, epoch or block of
  // another time), kCorrupt, kUnavailable (the peer cannot be reached or died, or no free slot),
  // kUnsupported (layout or transport), kUpstream (the peer said what cannot be), or what the
  // producer gave abort(). The message names the transfer and the peer.
  virtual void on_end(const Result<ReceiveSummary>& result) = 0;
};

// A pod's end of every hand-off. Owns the arena, the leases, the control service, the connections
// to peers, the transports and one thread of its own ("kv") on which all of it runs. Owned by the
// pod; every method may be called from any thread and none blocks, save start() and the destructor.
// Promises: each lease and each receive() ends exactly once, whatever happens to the peer; the
// destructor ends them all (kCancelled) before it returns.
class Node {
 public:
  // Errors: kInvalidArgument (an address or transport that cannot be), kUnavailable (port in use),
  // kUnsupported (the machine lacks what the transport needs; where others are allowed and none is
  // required, it is left out instead).
  [[nodiscard]] static Result<std::unique_ptr<Node>> start(NodeOptions options,
                                                           std::unique_ptr<BlockArena> arena);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] BlockArena& arena();
  [[nodiscard]] const std::string& address() const;  // host:port that is bound

  // Producer. Every call is idempotent; calls for a lease that has ended do nothing.
  // `cached_tokens` is what the reader reports as usage.
  void open_lease(TransferId id, std::int64_t prompt_tokens, std::int64_t cached_tokens);
  // Offers blocks to the reader. Their slots are pinned for the lease before this returns, so the
  // caller may unpin or free them at once.
  void publish(TransferId id, std::vector<BlockDescriptor> blocks);
  void seal(TransferId id);                 // every block has been published
  void abort(TransferId id, Error reason);  // the reader's on_end() gets `reason`
  void release(TransferId id);              // nobody will fetch it any more

  // Consumer.
  ReceiveId receive(ReceiveRequest request, std::shared_ptr<Receiver> receiver);
  // on_end(kCancelled) follows, if it had not ended. A producer that had been reached is told to
  // give up the lease; one that had not keeps it for its time to live.
  void cancel(ReceiveId id);

 private:
  class Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace baton::kv
