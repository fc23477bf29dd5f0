#pragma once

#include "core/metrics.h"

namespace baton::orchestrator::registry_metrics {

inline constexpr MetricSpec kPodUsable{
    "baton_pod_usable",
    MetricType::kGauge,
    "1 while the pod takes requests, 0 while it is unknown, ejected, draining or not what the "
    "configuration takes it for.",
    "pool,pod,role",
    {}};
inline constexpr MetricSpec kChecks{"baton_pod_checks_total",
                                    MetricType::kCounter,
                                    "Health checks of pods, by result: ok, failed.",
                                    "pool,pod,result",
                                    {}};
inline constexpr MetricSpec kEjections{"baton_pod_ejections_total",
                                       MetricType::kCounter,
                                       "Times a pod was taken out, by reason: checks, requests.",
                                       "pool,pod,reason",
                                       {}};
inline constexpr MetricSpec kRestarts{"baton_pod_restarts_total",
                                      MetricType::kCounter,
                                      "Times another process answered for a pod.",
                                      "pool,pod",
                                      {}};
inline constexpr MetricSpec kScrapeFailures{
    "baton_pod_scrape_failures_total",
    MetricType::kCounter,
    "Questions to a pod that brought nothing usable, by what was asked: metrics, facts, probe.",
    "pool,pod,what",
    {}};

inline constexpr MetricSpec kAll[] = {kPodUsable, kChecks, kEjections, kRestarts, kScrapeFailures};

}  // namespace baton::orchestrator::registry_metrics
