#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/metrics.h"
#include "core/units.h"
#include "kv_transfer/arena.h"

namespace baton::kv {

inline constexpr MetricSpec kReceivedBytes{"baton_kv_received_bytes_total",
                                           MetricType::kCounter,
                                           "Bytes of KV blocks received and verified.",
                                           "transport",
                                           {}};
inline constexpr MetricSpec kReceivedBlocks{"baton_kv_received_blocks_total",
                                            MetricType::kCounter,
                                            "KV blocks received and verified.",
                                            "transport",
                                            {}};
inline constexpr MetricSpec kHeldBlocks{
    "baton_kv_held_blocks_total",
    MetricType::kCounter,
    "Published KV blocks that were not fetched, since the pod held them.",
    "",
    {}};
inline constexpr MetricSpec kReceiveSeconds{
    "baton_kv_receive_seconds", MetricType::kHistogram,
    "Time from the start of a hand-off to its last block, prefill included.", "transport",
    kLatencyBuckets};
inline constexpr MetricSpec kExposedSeconds{
    "baton_kv_exposed_transfer_seconds", MetricType::kHistogram,
    "Time from the end of prefill to the last block of a hand-off.", "transport", kTransferBuckets};
inline constexpr MetricSpec kFailures{"baton_kv_failures_total",
                                      MetricType::kCounter,
                                      "Hand-offs that failed on the receiving side, by error code.",
                                      "reason",
                                      {}};
inline constexpr MetricSpec kPeerTransport{"baton_kv_peer_transport",
                                           MetricType::kGauge,
                                           "1 for the transport in use to a peer.",
                                           "peer,transport",
                                           {}};
inline constexpr MetricSpec kFallbacks{
    "baton_kv_transport_fallbacks_total",
    MetricType::kCounter,
    "Connections for which a preferred transport could not be used.",
    "transport",
    {}};
inline constexpr MetricSpec kLeasesOpen{
    "baton_kv_leases_open", MetricType::kGauge, "Leases that have not ended.", "", {}};
inline constexpr MetricSpec kLeasesEnded{"baton_kv_leases_ended_total",
                                         MetricType::kCounter,
                                         "Leases that ended, committed or freed.",
                                         "state",
                                         {}};
inline constexpr MetricSpec kReceivesOpen{
    "baton_kv_receives_open", MetricType::kGauge, "Hand-offs being received.", "", {}};
inline constexpr MetricSpec kSlots{
    "baton_kv_blocks", MetricType::kGauge, "Slots of the KV arena.", "", {}};
inline constexpr MetricSpec kSlotsUsed{
    "baton_kv_blocks_used", MetricType::kGauge, "Slots that hold KV.", "", {}};
inline constexpr MetricSpec kSlotsPinned{"baton_kv_blocks_pinned",
                                         MetricType::kGauge,
                                         "Slots pinned by a lease, a transfer or the engine.",
                                         "",
                                         {}};
inline constexpr MetricSpec kSlotsQuarantined{"baton_kv_blocks_quarantined",
                                              MetricType::kGauge,
                                              "Slots that were freed and wait for the last reader.",
                                              "",
                                              {}};

// Every metric of this module.
inline constexpr const MetricSpec* kKvMetrics[] = {
    &kReceivedBytes, &kReceivedBlocks, &kHeldBlocks, &kReceiveSeconds, &kExposedSeconds,
    &kFailures,      &kPeerTransport,  &kFallbacks,  &kLeasesOpen,     &kLeasesEnded,
    &kReceivesOpen,  &kSlots,          &kSlotsUsed,  &kSlotsPinned,    &kSlotsQuarantined};

// Counts what a Node does. Owned by the Node, used on its kv thread.
class KvMetrics {
 public:
  explicit KvMetrics(Metrics& metrics);

  void received(std::string_view transport, Bytes bytes, int blocks, int held, Duration total,
                Duration exposed);
  void failed(ErrorCode reason);
  void uses(const std::string& peer, const std::string& transport);
  void stopped_using(const std::string& peer);
  void fell_back(const std::string& transport);
  void lease_ended(std::string_view state);
  void observe(const BlockArena::Counts& slots, std::size_t leases, std::size_t receives);

 private:
  Metrics& metrics_;
  std::map<std::string, std::string> transport_of_;  // by peer
  prometheus::Gauge& leases_;
  prometheus::Gauge& receives_;
  prometheus::Gauge& slots_;
  prometheus::Gauge& used_;
  prometheus::Gauge& pinned_;
  prometheus::Gauge& quarantined_;
};

}  // namespace baton::kv
