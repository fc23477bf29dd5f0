#include "kv_transfer/kv_metrics.h"

namespace baton::kv {

KvMetrics::KvMetrics(Metrics& metrics)
    : metrics_(metrics),
      leases_(metrics.gauge(kLeasesOpen)),
      receives_(metrics.gauge(kReceivesOpen)),
      slots_(metrics.gauge(kSlots)),
      used_(metrics.gauge(kSlotsUsed)),
      pinned_(metrics.gauge(kSlotsPinned)),
      quarantined_(metrics.gauge(kSlotsQuarantined)) {}

void KvMetrics::received(std::string_view transport, Bytes bytes, int blocks, int held,
                         Duration total, Duration exposed) {
  const LabelValues labels{std::string(transport)};
  metrics_.counter(kReceivedBytes, labels).Increment(static_cast<double>(bytes.count()));
  metrics_.counter(kReceivedBlocks, labels).Increment(blocks);
  metrics_.counter(kHeldBlocks).Increment(held);
  metrics_.histogram(kReceiveSeconds, labels).Observe(to_seconds(total));
  metrics_.histogram(kExposedSeconds, labels).Observe(to_seconds(exposed));
}

void KvMetrics::failed(ErrorCode reason) {
  metrics_.counter(kFailures, {std::string(name_of(reason))}).Increment();
}

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

void KvMetrics::lease_ended(std::string_view state) {
  metrics_.counter(kLeasesEnded, {std::string(state)}).Increment();
}

void KvMetrics::observe(const BlockArena::Counts& slots, std::size_t leases, std::size_t receives) {
  leases_.Set(static_cast<double>(leases));
  receives_.Set(static_cast<double>(receives));
  slots_.Set(slots.total);
  used_.Set(slots.used);
  pinned_.Set(slots.pinned);
  quarantined_.Set(slots.quarantined);
}

}  // namespace baton::kv
