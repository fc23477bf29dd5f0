#include "kv_transfer/kv_metrics.h"

#include "kv_transfer/lease.h"

namespace baton::kv {

KvMetrics::KvMetrics(Metrics& metrics)
    : metrics_(metrics),
      leases_(metrics.gauge(kLeasesOpen)),
      receives_(metrics.gauge(kReceivesOpen)),
      slots_(metrics.gauge(kSlots)),
      used_(metrics.gauge(kSlotsUsed)),
      pinned_(metrics.gauge(kSlotsPinned)),
      quarantined_(metrics.gauge(kSlotsQuarantined)),
      quarantined_bytes_(metrics.gauge(kQuarantinedBytes)),
      inflight_(metrics.gauge(kInflightBytes)) {}

void KvMetrics::received(const Received& what) {
  const LabelValues labels{std::string(what.transport)};
  metrics_.counter(kOutcomes, {"ok"}).Increment();
  metrics_.counter(kBytes, labels).Increment(static_cast<double>(what.bytes.count()));
  metrics_.counter(kBlocksReceived, labels).Increment(what.blocks);
  metrics_.counter(kHeldBlocks).Increment(what.held);
  metrics_.histogram(kSeconds, labels).Observe(to_seconds(what.total));
  metrics_.histogram(kExposedSeconds, labels).Observe(to_seconds(what.exposed));
  metrics_.histogram(kPostSeconds, labels).Observe(to_seconds(what.posting));
  metrics_.counter(kRuns, labels).Increment(static_cast<double>(what.runs));
  if (what.descriptors == 0) return;
  metrics_.histogram(kCoalescingRatio, labels)
      .Observe(static_cast<double>(what.runs) / static_cast<double>(what.descriptors));
}

void KvMetrics::failed(ErrorCode reason) {
  metrics_.counter(kOutcomes, {std::string(name_of(reason))}).Increment();
}
void KvMetrics::asked_for(std::int64_t bytes) { inflight_.Increment(static_cast<double>(bytes)); }
void KvMetrics::retried() { metrics_.counter(kRetries).Increment(); }
void KvMetrics::came_wrong() { metrics_.counter(kChecksumFailures).Increment(); }
void KvMetrics::was_stale() { metrics_.counter(kStaleReads).Increment(); }

void KvMetrics::uses(const std::string& peer, const std::string& transport) {
  stopped_using(peer);
  transport_of_[peer] = transport;
  metrics_.gauge(kPeerTransport, {peer, transport}).Set(1);
}

void KvMetrics::stopped_using(const std::string& peer) {
  const auto it = transport_of_.find(peer);
  if (it == transport_of_.end()) return;
  metrics_.gauge(kPeerTransport, {peer, it->second}).Set(0);
  transport_of_.erase(it);
}

void KvMetrics::fell_back(const std::string& transport) {
  metrics_.counter(kFallbacks, {transport}).Increment();
}

void KvMetrics::lease_ended(std::string_view state, Duration held, Duration margin) {
  const LabelValues labels{std::string(state)};
  metrics_.counter(kLeasesEnded, labels).Increment();
  metrics_.histogram(kLeaseSeconds, labels).Observe(to_seconds(held));
  if (state == name_of(LeaseState::kCommitted)) {
    metrics_.histogram(kLeaseMargin).Observe(to_seconds(margin));
  }
}

void KvMetrics::observe(const BlockArena& arena, std::size_t leases, std::size_t receives) {
  const BlockArena::Counts slots = arena.counts();
  leases_.Set(static_cast<double>(leases));
  receives_.Set(static_cast<double>(receives));
  slots_.Set(slots.total);
  used_.Set(slots.used);
  pinned_.Set(slots.pinned);
  quarantined_.Set(slots.quarantined);
  quarantined_bytes_.Set(static_cast<double>(slots.quarantined * arena.slot_bytes().count()));
}

}  // namespace baton::kv
