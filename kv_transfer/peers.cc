#include "kv_transfer/peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.h"

namespace baton::kv {
namespace {

constexpr std::size_t kMaxPeers = 1024;

bool is(const wire::Welcome& facts, const std::string& engine_id, std::uint64_t epoch) {
  return facts.engine_id == engine_id && facts.epoch == epoch;
}

// An owner that listens everywhere offers no host; it is reached where its control service is.
TransportOffer with_host_of(const std::string& peer, TransportOffer offer) {
  for (const std::string_view anywhere : {"0.0.0.0:", "[::]:", ":::"}) {
    if (!offer.address.starts_with(anywhere)) continue;
    offer.address = peer.substr(0, peer.rfind(':')) + ":" + offer.address.substr(anywhere.size());
  }
  return offer;
}

}  // namespace

PeerTable::PeerTable(Loop loop, const NodeOptions& options, KvMetrics& metrics,
                     const std::vector<std::unique_ptr<Transport>>& transports)
    : loop_(std::move(loop)), options_(options), metrics_(metrics), transports_(transports) {}

void PeerTable::acquire(const std::string& address, const std::string& engine_id,
                        std::uint64_t epoch, Acquired done) {
  const auto it = entries_.find(address);
  const bool came_later = it != entries_.end() && it->second.peer == nullptr;
  acquire(address, {engine_id, epoch, std::move(done), came_later});
}

void PeerTable::acquire(const std::string& address, Waiter waiter) {
  if (stopped_) {
    waiter.done(fail(ErrorCode::kCancelled, Stage::kHandoff, "the pod is stopping"));
    return;
  }
  if (!entries_.contains(address)) make_room();
  Entry& entry = entries_[address];
  if (entry.peer != nullptr) {
    if (!entry.peer->link->failed() && is(entry.peer->facts, waiter.engine_id, waiter.epoch)) {
      waiter.done(entry.peer);
      return;
    }
    // Whoever still reads over the old connection keeps it.
    retire(std::shared_ptr(entry.peer));
  }
  Entry& fresh = entries_[address];
  fresh.waiters.push_back(std::move(waiter));
  if (fresh.waiters.size() == 1) connect(address);
}

void PeerTable::forget(const std::shared_ptr<Peer>& peer) {
  peer->link->close();
  retire(peer);
}

void PeerTable::retire(const std::shared_ptr<Peer>& peer) {
  const auto it = entries_.find(peer->address);
  if (it == entries_.end() || it->second.peer != peer) return;
  metrics_.stopped_using(peer->facts.engine_id);
  entries_.erase(it);
}

void PeerTable::stop() {
  stopped_ = true;
  auto entries = std::exchange(entries_, {});
  for (auto& [address, entry] : entries) {
    if (entry.peer != nullptr) entry.peer->link->close();
    for (const Waiter& waiter : entry.waiters) {
      waiter.done(fail(ErrorCode::kCancelled, Stage::kHandoff, "the pod is stopping"));
    }
  }
}

void PeerTable::connect(const std::string& address) {
  auto peer = std::make_shared<Peer>();
  peer->address = address;
  peer->control = ControlClient::create(loop_, address, options_.tls);
  peer->control->handshake(hello(), options_.connect_timeout,
                           [this, peer](Result<wire::Welcome> welcome) {
                             if (!stopped_) welcomed(peer, std::move(welcome));
                           });
}

void PeerTable::welcomed(const std::shared_ptr<Peer>& peer, Result<wire::Welcome> welcome) {
  if (!welcome) {
    finish(peer->address, std::unexpected(std::move(welcome.error())));
    return;
  }
  peer->facts = std::move(*welcome);
  if (peer->facts.protocol != wire::kProtocol) {
    finish(peer->address,
           std::unexpected(wire::other_protocol(peer->facts.protocol, options_.engine_id)));
    return;
  }
  if (peer->facts.layout_hash != options_.layout_hash) {
    finish(peer->address,
           fail(ErrorCode::kUnsupported, Stage::kHandoff,
                fmt::format("KV layout {:016x} of {} is not {:016x}, this pod's: "
                            "both must run the same model, KV types and block size",
                            peer->facts.layout_hash, peer->address, options_.layout_hash)));
    return;
  }
  try_transport(peer, 0,
                {ErrorCode::kUnsupported, Stage::kHandoff,
                 fmt::format("{} offers no transport that this pod may use ({})", peer->address,
                             options_.require_transport.empty()
                                 ? "see transports"
                                 : options_.require_transport + " is required")});
}

void PeerTable::try_transport(const std::shared_ptr<Peer>& peer, std::size_t which,
                              Error last_error) {
  if (which == transports_.size()) {
    finish(peer->address, std::unexpected(std::move(last_error)));
    return;
  }
  Transport& transport = *transports_[which];
  const std::string name(transport.capabilities().name);
  const auto offer = std::ranges::find(peer->facts.offers, name, &TransportOffer::transport);
  if (offer == peer->facts.offers.end()) {
    metrics_.fell_back(name);
    try_transport(peer, which + 1, std::move(last_error));
    return;
  }
  transport.connect(
      with_host_of(peer->address, *offer), Clock::now() + options_.connect_timeout,
      [this, peer, which, name](Result<std::shared_ptr<Link>> link) {
        if (stopped_) {
          if (link) (*link)->close();
          return;
        }
        if (!link) {
          metrics_.fell_back(name);
          log(LogLevel::kWarn, "KV transport not usable",
              {{"peer", peer->address}, {"transport", name}, {"reason", link.error().message}});
          try_transport(peer, which + 1, link.error());
          return;
        }
        peer->link = std::move(*link);
        peer->transport = name;
        finish(peer->address, peer);
      });
}

void PeerTable::finish(const std::string& address, Result<std::shared_ptr<Peer>> result) {
  const auto it = entries_.find(address);
  if (it == entries_.end()) return;
  auto waiters = std::exchange(it->second.waiters, {});
  if (result) {
    it->second.peer = *result;
    metrics_.uses((*result)->facts.engine_id, (*result)->transport);
    log(LogLevel::kInfo, "KV peer connected",
        {{"peer", address},
         {"engine", (*result)->facts.engine_id},
         {"transport", (*result)->transport}});
  } else {
    log(LogLevel::kWarn, "KV peer not connected",
        {{"peer", address}, {"reason", result.error().message}});
    entries_.erase(it);
  }
  for (Waiter& waiter : waiters) {
    const bool is_wanted = result && is((*result)->facts, waiter.engine_id, waiter.epoch);
    if (!is_wanted && std::exchange(waiter.came_later, false)) {
      acquire(address, std::move(waiter));  // by a handshake of its own
    } else if (result && !is_wanted) {
      waiter.done(fail(ErrorCode::kStale, Stage::kHandoff,
                       fmt::format("{} is engine {} epoch {} now, not {} epoch {}", address,
                                   (*result)->facts.engine_id, (*result)->facts.epoch,
                                   waiter.engine_id, waiter.epoch),
                       true));
    } else {
      waiter.done(result);
    }
  }
}

void PeerTable::make_room() {
  if (entries_.size() < kMaxPeers) return;
  const auto idle = std::ranges::find_if(entries_, [](const auto& entry) {
    return entry.second.peer != nullptr && entry.second.peer.use_count() == 1;
  });
  if (idle != entries_.end()) retire(std::shared_ptr(idle->second.peer));
}

wire::Hello PeerTable::hello() const {
  wire::Hello hello{.engine_id = options_.engine_id,
                    .epoch = options_.epoch,
                    .layout_hash = options_.layout_hash,
                    .transports = {}};
  for (const auto& transport : transports_) {
    hello.transports.emplace_back(transport->capabilities().name);
  }
  return hello;
}

}  // namespace baton::kv
