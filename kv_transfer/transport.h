#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/units.h"
#include "kv_transfer/lease.h"
#include "kv_transfer/slices.h"

namespace baton::kv {

struct Capabilities {
  std::string_view name;   // as in configuration, logs and metrics
  bool same_host = false;  // reaches peers on this host only
};

// What an owner tells one reader in the handshake, so that it can connect.
struct TransportOffer {
  std::string transport;  // Capabilities::name
  std::string address;    // shm: abstract socket name; ucx: sockaddr as host:port
  std::string token;      // one-time right to connect; tcp: several, for a connection each
};

// One block to pull: block `index` of the lease, as it was published.
struct BlockRead {
  std::uint32_t index = 0;
  BlockDescriptor remote;
  std::span<std::byte> into;  // the block's bytes, or its slices one after the other
};

// What all blocks of one fetch have in common.
struct FetchTerms {
  TransferId transfer{};
  int priority = 0;  // a larger one goes first, whatever else is waiting
  TimePoint deadline = TimePoint::max();
  Slices slices{};
};

// A reader's connection to one owner over one transport. Lives on the kv thread. Promises: every
// piece of every fetch() is reported exactly once, after which nothing writes to its bytes any
// more; once failed, a link stays failed.
class Link {
 public:
  using PieceDone = std::function<void(std::uint32_t index, Result<void> result)>;

  virtual ~Link() = default;
  // `done` runs on the kv thread, never inside fetch(). Whatever is handed over waits its turn;
  // several transfers take turns. Errors: kStale (the owner no longer holds that generation),
  // kCorrupt (not the bytes of the checksum), kUnavailable (peer or link lost).
  virtual void fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) = 0;
  [[nodiscard]] virtual bool failed() const = 0;
  // Ends the link: pieces under way are reported as kUnavailable once nothing writes to them.
  virtual void close() = 0;
};

// One way of moving blocks between pods. Owned by a Node, used on its kv thread only.
class Transport {
 public:
  using Connected = std::function<void(Result<std::shared_ptr<Link>>)>;

  virtual ~Transport() = default;
  [[nodiscard]] virtual Capabilities capabilities() const = 0;

  // Owner: lets one more reader connect; the offer goes to that reader alone.
  [[nodiscard]] virtual TransportOffer reserve(TimePoint now) = 0;
  // Owner: these blocks of the lease may be read, from the index after the last one published.
  virtual void publish(TransferId transfer, std::span<const BlockDescriptor> blocks) = 0;
  // Owner: the lease may no longer be read; reads of it answer kStale.
  virtual void abort(TransferId transfer) = 0;

  // Reader: `done` runs once, on the kv thread. kUnsupported: this peer cannot be reached this way.
  virtual void connect(const TransportOffer& offer, TimePoint deadline, Connected done) = 0;

  // Closes everything; `done` runs when nothing is under way any more.
  virtual void stop(std::function<void()> done) = 0;
};

}  // namespace baton::kv
