#pragma once

#include "core/metrics.h"

namespace baton::orchestrator::admin_metrics {

inline constexpr MetricSpec kBuildInfo{"baton_build_info",
                                       MetricType::kGauge,
                                       "Always 1; the labels say what runs.",
                                       "version,commit,compiler,llama_cpp",
                                       {}};
inline constexpr MetricSpec kDraining{
    "baton_draining", MetricType::kGauge, "1 once the router was asked to stop.", "", {}};
inline constexpr MetricSpec kReloads{
    "baton_config_reloads_total",
    MetricType::kCounter,
    "Times the configuration was read again, by result: ok, refused.",
    "result",
    {}};
inline constexpr MetricSpec kInFlight{"baton_requests_in_flight",
                                      MetricType::kGauge,
                                      "Requests that this router has in flight on the pod.",
                                      "pool,pod",
                                      {}};
inline constexpr MetricSpec kUncached{"baton_pod_uncached_prefill_tokens",
                                      MetricType::kGauge,
                                      "Prompt tokens in flight that the pod has yet to compute.",
                                      "pool,pod",
                                      {}};
inline constexpr MetricSpec kReservedKv{
    "baton_pod_reserved_kv_tokens",
    MetricType::kGauge,
    "Prompt and expected answer tokens of requests that decode on the pod.",
    "pool,pod",
    {}};
inline constexpr MetricSpec kIndexElements{
    "baton_prefix_index_elements", MetricType::kGauge, "Prefix pieces in the index.", "", {}};
inline constexpr MetricSpec kIndexBytes{"baton_prefix_index_bytes",
                                        MetricType::kGauge,
                                        "Memory of the prefix index that holds elements.",
                                        "",
                                        {}};
inline constexpr MetricSpec kIndexEvictions{"baton_prefix_index_evictions_total",
                                            MetricType::kCounter,
                                            "Elements that gave way to newer ones.",
                                            "",
                                            {}};
inline constexpr MetricSpec kResidentBytes{
    "process_resident_memory_bytes", MetricType::kGauge, "Resident memory of the process.", "", {}};
inline constexpr MetricSpec kCpuSeconds{"process_cpu_seconds_total",
                                        MetricType::kCounter,
                                        "CPU time of the process, user and system.",
                                        "",
                                        {}};

inline constexpr MetricSpec kAll[] = {kBuildInfo,      kDraining,      kReloads,       kInFlight,
                                      kUncached,       kReservedKv,    kIndexElements, kIndexBytes,
                                      kIndexEvictions, kResidentBytes, kCpuSeconds};

}  // namespace baton::orchestrator::admin_metrics
