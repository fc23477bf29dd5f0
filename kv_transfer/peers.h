#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "kv_transfer/control_client.h"
#include "kv_transfer/kv_metrics.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/node.h"
#include "kv_transfer/transport.h"

namespace baton::kv {

// A producer that this pod reads from: what it said of itself, and the link to its arena.
struct Peer {
  Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    if (link != nullptr) link->close();
  }

  std::string address;
  wire::Welcome facts;
  std::string transport;
  std::unique_ptr<ControlClient> control;
  std::shared_ptr<Link> link;
  bool was_used = false;  // by an earlier hand-off
};

// Every producer that this pod reads from, with one control channel and one link each. Owned by the
// Node, used on its kv thread. Promises: two hand-offs from one producer share its connection; a
// producer that failed is connected afresh by the next hand-off, and nobody is left out for good.
class PeerTable {
 public:
  using Acquired = std::function<void(Result<std::shared_ptr<Peer>>)>;

  // `options`, `metrics` and `transports` (in order of preference) outlive it.
  PeerTable(Loop loop, const NodeOptions& options, KvMetrics& metrics,
            const std::vector<std::unique_ptr<Transport>>& transports);

  // Connects where that has not been done, or where another process answers at the address now.
  // Errors: kUnavailable, kTimeout, kStale (another engine or epoch), kUnsupported (layout or
  // transport).
  void acquire(const std::string& address, const std::string& engine_id, std::uint64_t epoch,
               Acquired done);
  // The peer failed: whoever comes next connects anew.
  void forget(const std::shared_ptr<Peer>& peer);
  // The same, but who reads over this connection goes on with it.
  void retire(const std::shared_ptr<Peer>& peer);
  void stop();

 private:
  struct Waiter {
    std::string engine_id;
    std::uint64_t epoch = 0;
    Acquired done;
    bool came_later = false;  // than the handshake under way, which may be with a process that died
  };
  struct Entry {
    std::shared_ptr<Peer> peer;  // set: connected
    std::vector<Waiter> waiters;
  };

  void acquire(const std::string& address, Waiter waiter);
  void connect(const std::string& address);
  void welcomed(const std::shared_ptr<Peer>& peer, Result<wire::Welcome> welcome);
  void try_transport(const std::shared_ptr<Peer>& peer, std::size_t which, Error last_error);
  void finish(const std::string& address, Result<std::shared_ptr<Peer>> result);
  void make_room();
  [[nodiscard]] wire::Hello hello() const;

  const Loop loop_;
  const NodeOptions& options_;
  KvMetrics& metrics_;
  const std::vector<std::unique_ptr<Transport>>& transports_;
  std::unordered_map<std::string, Entry> entries_;
  bool stopped_ = false;
};

}  // namespace baton::kv
