#pragma once

#include "core/metrics.h"

namespace baton::adapters::kv_event_metrics {

inline constexpr MetricSpec kEvents{
    "baton_kv_events_total",
    MetricType::kCounter,
    "KV events of pods, by type: stored, removed, cleared, unknown.",
    "pool,pod,type",
    {}};
inline constexpr MetricSpec kBlocks{
    "baton_kv_event_blocks_total",
    MetricType::kCounter,
    "Blocks that KV events named, by what became of them: stored and removed, or passed over "
    "because of other_size (than the pool's blocks), other_keys (an image, an adapter without a "
    "name), not_resident (on CPU or disk), unknown_parent, no_room.",
    "pool,pod,result",
    {}};
inline constexpr MetricSpec kBlocksHeld{"baton_kv_event_blocks",
                                        MetricType::kGauge,
                                        "Blocks that the pod holds by its KV events.",
                                        "pool,pod",
                                        {}};
inline constexpr MetricSpec kGaps{"baton_kv_event_gaps_total",
                                  MetricType::kCounter,
                                  "Gaps in the numbers of a pod's batches of KV events.",
                                  "pool,pod",
                                  {}};
inline constexpr MetricSpec kReplays{
    "baton_kv_event_replays_total",
    MetricType::kCounter,
    "Requests for batches again, by result: filled, short (the pod had some no longer), failed.",
    "pool,pod,result",
    {}};
inline constexpr MetricSpec kResets{
    "baton_kv_event_resets_total",
    MetricType::kCounter,
    "Times that what a pod's KV events had told was forgotten, by reason: gap, restart, backlog, "
    "undecodable.",
    "pool,pod,reason",
    {}};
inline constexpr MetricSpec kDecodeErrors{"baton_kv_event_decode_errors_total",
                                          MetricType::kCounter,
                                          "Messages of a pod's KV events that could not be read.",
                                          "pool,pod",
                                          {}};

inline constexpr MetricSpec kAll[] = {kEvents,  kBlocks, kBlocksHeld,  kGaps,
                                      kReplays, kResets, kDecodeErrors};

}  // namespace baton::adapters::kv_event_metrics
