#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/metrics.h"
#include "core/units.h"
#include "kv_transfer/arena.h"

namespace baton::kv {

inline constexpr double kRatioBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

inline constexpr MetricSpec kOutcomes{
    "baton_kv_transfer_outcomes_total",
    MetricType::kCounter,
    "Hand-offs on the receiving side, by how they ended: ok, or an error code.",
    "outcome",
    {}};
inline constexpr MetricSpec kBytes{"baton_kv_transfer_bytes_total",
                                   MetricType::kCounter,
                                   "Bytes of KV received and verified.",
                                   "transport",
                                   {}};
inline constexpr MetricSpec kBlocksReceived{"baton_kv_transfer_blocks_total",
                                            MetricType::kCounter,
                                            "KV blocks received and verified.",
                                            "transport",
                                            {}};
inline constexpr MetricSpec kHeldBlocks{
    "baton_kv_transfer_held_blocks_total",
    MetricType::kCounter,
    "Published KV blocks that were not fetched, since the pod held them.",
    "",
    {}};
inline constexpr MetricSpec kSeconds{
    "baton_kv_transfer_seconds", MetricType::kHistogram,
    "Time from the start of a hand-off to its last block, prefill included.", "transport",
    kLatencyBuckets};
inline constexpr MetricSpec kExposedSeconds{
    "baton_kv_transfer_exposed_seconds", MetricType::kHistogram,
    "Time from the end of prefill to the last block of a hand-off.", "transport", kTransferBuckets};
inline constexpr MetricSpec kPostSeconds{
    "baton_kv_transfer_post_seconds", MetricType::kHistogram,
    "Time that a hand-off took to ask for its blocks, apart from moving them.", "transport",
    kTransferBuckets};
inline constexpr MetricSpec kRuns{
    "baton_kv_transfer_runs_total",
    MetricType::kCounter,
    "Contiguous runs of bytes that were moved: one a block, or the chunks of its slices.",
    "transport",
    {}};
inline constexpr MetricSpec kCoalescingRatio{
    "baton_kv_transfer_coalescing_ratio", MetricType::kHistogram,
    "Runs of a hand-off per descriptor that was sent for them.", "transport", kRatioBuckets};
inline constexpr MetricSpec kInflightBytes{"baton_kv_transfer_inflight_bytes",
                                           MetricType::kGauge,
                                           "Bytes that were asked for and have not arrived.",
                                           "",
                                           {}};
inline constexpr MetricSpec kRetries{
    "baton_kv_transfer_retries_total",
    MetricType::kCounter,
    "Blocks fetched again, and hand-offs that went on over another connection.",
    "",
    {}};
inline constexpr MetricSpec kChecksumFailures{"baton_kv_transfer_checksum_failures_total",
                                              MetricType::kCounter,
                                              "Blocks that arrived without their checksum.",
                                              "",
                                              {}};
inline constexpr MetricSpec kStaleReads{"baton_kv_transfer_stale_reads_total",
                                        MetricType::kCounter,
                                        "Hand-offs that asked for a block that was no longer held.",
                                        "",
                                        {}};
inline constexpr MetricSpec kPeerTransport{"baton_kv_transfer_peer_transport_info",
                                           MetricType::kGauge,
                                           "1 for the transport in use to a peer, by engine id.",
                                           "peer,transport",
                                           {}};
inline constexpr MetricSpec kFallbacks{
    "baton_kv_transfer_fallbacks_total",
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

inline constexpr MetricSpec kLeaseSeconds{"baton_kv_transfer_lease_seconds", MetricType::kHistogram,
                                          "Time from the opening of a lease to its end.", "state",
                                          kLatencyBuckets};
inline constexpr MetricSpec kLeaseMargin{
    "baton_kv_transfer_lease_margin_seconds", MetricType::kHistogram,
    "Time to live that a committed lease had left when its reader came; all of it where the reader "
    "was there before.",
    "", kLatencyBuckets};
inline constexpr MetricSpec kQuarantinedBytes{
    "baton_kv_transfer_quarantined_bytes",
    MetricType::kGauge,
    "Bytes of slots that were freed and wait for their last reader.",
    "",
    {}};

// Every metric of this module.
inline constexpr const MetricSpec* kKvMetrics[] = {
    &kOutcomes,        &kBytes,         &kBlocksReceived,
    &kHeldBlocks,      &kSeconds,       &kExposedSeconds,
    &kPostSeconds,     &kRuns,          &kCoalescingRatio,
    &kInflightBytes,   &kRetries,       &kChecksumFailures,
    &kStaleReads,      &kPeerTransport, &kFallbacks,
    &kLeaseSeconds,    &kLeaseMargin,   &kQuarantinedBytes,
    &kLeasesOpen,      &kLeasesEnded,   &kReceivesOpen,
    &kSlots,           &kSlotsUsed,     &kSlotsPinned,
    &kSlotsQuarantined};

// Counts what a Node does. Owned by the Node, used on its kv thread.
class KvMetrics {
 public:
  explicit KvMetrics(Metrics& metrics);

  struct Received {
    std::string_view transport;
    Bytes bytes{};
    int blocks = 0;
    int held = 0;
    Duration total{};
    Duration exposed{};
    Duration posting{};
    std::uint64_t runs = 0;         // contiguous
    std::uint64_t descriptors = 0;  // that named them
  };
  void received(const Received& what);
  void failed(ErrorCode reason);
  // Bytes more, or fewer, that were asked for and have not arrived.
  void asked_for(std::int64_t bytes);
  void retried();
  void came_wrong();
  void was_stale();
  void uses(const std::string& peer, const std::string& transport);
  void stopped_using(const std::string& peer);
  void fell_back(const std::string& transport);
  void lease_ended(std::string_view state, Duration held, Duration margin);
  void observe(const BlockArena& arena, std::size_t leases, std::size_t receives);

 private:
  Metrics& metrics_;
  std::map<std::string, std::string> transport_of_;  // by engine id of the peer
  prometheus::Gauge& leases_;
  prometheus::Gauge& receives_;
  prometheus::Gauge& slots_;
  prometheus::Gauge& used_;
  prometheus::Gauge& pinned_;
  prometheus::Gauge& quarantined_;
  prometheus::Gauge& quarantined_bytes_;
  prometheus::Gauge& inflight_;
};

}  // namespace baton::kv
