#pragma once

#include "core/metrics.h"

namespace baton::orchestrator::autoscale_metrics {

inline constexpr MetricSpec kReadyPods{"baton_pool_ready_pods",
                                       MetricType::kGauge,
                                       "Pods that take requests of this role.",
                                       "pool,role",
                                       {}};
inline constexpr MetricSpec kQueueSeconds{
    "baton_pool_queue_seconds",
    MetricType::kGauge,
    "Predicted time until a prompt that comes now begins to be computed, mean of the ready pods.",
    "pool,role",
    {}};
inline constexpr MetricSpec kUncachedTokens{
    "baton_pool_uncached_tokens_inflight",
    MetricType::kGauge,
    "Prompt tokens that ready pods have yet to compute for this router, sum.",
    "pool,role",
    {}};
inline constexpr MetricSpec kPrefillUtilisation{
    "baton_pool_prefill_utilisation",
    MetricType::kGauge,
    "Share of the ready pods' last 10 to 20 s in which they had prompts to compute, 0 to 1.",
    "pool,role",
    {}};
inline constexpr MetricSpec kKvUsage{"baton_pool_kv_usage",
                                     MetricType::kGauge,
                                     "Share of KV blocks in use, mean of the ready pods, 0 to 1.",
                                     "pool,role",
                                     {}};
inline constexpr MetricSpec kRunning{"baton_pool_running",
                                     MetricType::kGauge,
                                     "Requests that ready pods run, sum.",
                                     "pool,role",
                                     {}};
inline constexpr MetricSpec kTpotHeadroom{"baton_pool_tpot_headroom",
                                          MetricType::kGauge,
                                          "1 less the predicted decode step over the TPOT SLO, of "
                                          "the worst ready pod, -1 to 1; 1 without "
                                          "an SLO. Role decode only.",
                                          "pool,role",
                                          {}};
inline constexpr MetricSpec kSaturation{
    "baton_pool_saturation",
    MetricType::kGauge,
    "The largest of the role's signals as a share of what it can take: 0 idle, 1 full, more where "
    "requests wait. The one to scale on.",
    "pool,role",
    {}};

inline constexpr MetricSpec kAll[] = {kReadyPods,          kQueueSeconds, kUncachedTokens,
                                      kPrefillUtilisation, kKvUsage,      kRunning,
                                      kTpotHeadroom,       kSaturation};

// The Gateway API Inference Extension's names for a pool's averages (v1.5, pkg/epp/metrics), and
// those that llm-d-router has given them since (0.10, docs/metrics.md). `name` is the pool's.
inline constexpr MetricSpec kInferencePoolKvUsage{
    "inference_pool_average_kv_cache_utilization",
    MetricType::kGauge,
    "Share of KV blocks in use, mean of the pool's ready pods, 0 to 1.",
    "name",
    {}};
inline constexpr MetricSpec kInferencePoolQueue{
    "inference_pool_average_queue_size",
    MetricType::kGauge,
    "Requests queued in the engine, mean of the pool's ready pods.",
    "name",
    {}};
inline constexpr MetricSpec kInferencePoolRunning{
    "inference_pool_average_running_requests",
    MetricType::kGauge,
    "Requests running in the engine, mean of the pool's ready pods.",
    "name",
    {}};
inline constexpr MetricSpec kInferencePoolReady{"inference_pool_ready_pods",
                                                MetricType::kGauge,
                                                "The pool's ready pods, of all roles.",
                                                "name",
                                                {}};
inline constexpr MetricSpec kEppKvUsage{"llm_d_epp_average_kv_cache_utilization",
                                        MetricType::kGauge,
                                        "As inference_pool_average_kv_cache_utilization.",
                                        "name",
                                        {}};
inline constexpr MetricSpec kEppQueue{"llm_d_epp_average_queue_size",
                                      MetricType::kGauge,
                                      "As inference_pool_average_queue_size.",
                                      "name",
                                      {}};
inline constexpr MetricSpec kEppRunning{"llm_d_epp_average_running_requests",
                                        MetricType::kGauge,
                                        "As inference_pool_average_running_requests.",
                                        "name",
                                        {}};
inline constexpr MetricSpec kEppReady{
    "llm_d_epp_ready_endpoints", MetricType::kGauge, "As inference_pool_ready_pods.", "name", {}};

inline constexpr MetricSpec kAllOfExtension[] = {
    kInferencePoolKvUsage, kInferencePoolQueue, kInferencePoolRunning, kInferencePoolReady,
    kEppKvUsage,           kEppQueue,           kEppRunning,           kEppReady};

}  // namespace baton::orchestrator::autoscale_metrics
