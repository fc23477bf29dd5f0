#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/metrics.h"
#include "kv_transfer/transport_names.h"

namespace baton::orchestrator {

// How a request ended; the label `outcome`.
enum class Outcome : std::uint8_t {
  kOk,           // answered whole
  kClientError,  // 4xx, by the router or by a pod
  kRefused,      // 429: it would miss its SLO
  kUnavailable,  // 5xx before the first byte
  kCutShort,     // a pod failed in the stream, which ended with an error event
  kClientLeft,
};
inline constexpr std::size_t kOutcomes = 6;
[[nodiscard]] std::string_view name_of(Outcome outcome);

inline constexpr double kTpotBuckets[] = {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02,
                                          0.03,  0.05,   0.075, 0.1,    0.2,  0.5};

namespace lifecycle_metrics {
inline constexpr MetricSpec kRequests{
    "baton_requests_total",
    MetricType::kCounter,
    "Requests that ended, by how: ok, client_error, refused, unavailable, cut_short, client_left.",
    "pool,outcome",
    {}};
inline constexpr MetricSpec kOpenRequests{
    "baton_open_requests", MetricType::kGauge, "Requests being served now.", "pool", {}};
inline constexpr MetricSpec kWaiting{"baton_waiting_requests",
                                     MetricType::kGauge,
                                     "Requests that wait for a pod that can take them.",
                                     "pool",
                                     {}};
inline constexpr MetricSpec kSloMisses{
    "baton_slo_misses_predicted_total",
    MetricType::kCounter,
    "Requests whose first plan would miss their SLO, by what of it: ttft, tpot. Refused or served, "
    "as the pool's slo.admission has it.",
    "pool,reason",
    {}};
inline constexpr MetricSpec kTtft{"baton_ttft_seconds", MetricType::kHistogram,
                                  "From the request read whole to the first byte of its answer.",
                                  "pool,plan", kLatencyBuckets};
inline constexpr MetricSpec kTpot{
    "baton_tpot_seconds", MetricType::kHistogram,
    "Time per output token after the first, of streamed answers of two events or more.", "pool",
    kTpotBuckets};
inline constexpr MetricSpec kPlanSeconds{"baton_plan_seconds", MetricType::kHistogram,
                                         "Choosing the pods of a request, each time it was done.",
                                         "pool", kTransferBuckets};
inline constexpr MetricSpec kLegSeconds{
    "baton_leg_seconds", MetricType::kHistogram,
    "From sending a leg to its answer: whole for prefill, its first byte for decode.", "pool,leg",
    kLatencyBuckets};
inline constexpr MetricSpec kLegFailures{
    "baton_leg_failures_total",
    MetricType::kCounter,
    "Legs that failed before the first byte of an answer, by the stage at fault.",
    "pool,stage",
    {}};
inline constexpr MetricSpec kRetries{
    "baton_retries_total", MetricType::kCounter, "Legs or pairs tried again.", "pool", {}};
inline constexpr MetricSpec kRetriesRefused{
    "baton_retries_refused_total",
    MetricType::kCounter,
    "Retries that the retry budget or the limit of attempts did not allow.",
    "pool",
    {}};
inline constexpr MetricSpec kReleases{
    "baton_lease_releases_total",
    MetricType::kCounter,
    "Hand-offs given back because nobody will fetch them, by result: ok, failed.",
    "pool,result",
    {}};
inline constexpr MetricSpec kHandoffsAbsent{
    "baton_handoffs_absent_total",
    MetricType::kCounter,
    "Splits whose prefill pod offered no KV: the decode pod computed the prompt.",
    "pool",
    {}};
inline constexpr MetricSpec kHandoffBytes{"baton_handoff_bytes_total",
                                          MetricType::kCounter,
                                          "KV bytes moved between pods, by transport.",
                                          "pool,transport",
                                          {}};
inline constexpr MetricSpec kHandoffSeconds{
    "baton_handoff_exposed_seconds", MetricType::kHistogram,
    "Part of a hand-off that prefill did not hide, as the decode pod reports it.", "pool",
    kTransferBuckets};
inline constexpr MetricSpec kLookups{
    "baton_prompt_id_lookups_total",
    MetricType::kCounter,
    "Requests to pods for the token ids of text prompts, by result: ok, failed, skipped (too many "
    "under way, a failure a moment ago, or a long text).",
    "pool,result",
    {}};
inline constexpr MetricSpec kPromptTokens{"baton_prompt_tokens_total",
                                          MetricType::kCounter,
                                          "Prompt tokens of answered requests.",
                                          "pool",
                                          {}};
inline constexpr MetricSpec kCachedTokens{"baton_cached_prompt_tokens_total",
                                          MetricType::kCounter,
                                          "Prompt tokens that the prefill pod held already.",
                                          "pool",
                                          {}};
inline constexpr MetricSpec kPredictorError{
    "baton_predictor_error_ratio",
    MetricType::kGauge,
    "How far observed over predicted was from 1, on average of about the last hundred, by kind: "
    "prefill, step, transfer.",
    "pool,kind",
    {}};
inline constexpr MetricSpec kPredictorSeen{
    "baton_predictor_observations_total",
    MetricType::kCounter,
    "Times that pods were seen to take and that the predictor learnt from, by kind: prefill, step, "
    "transfer.",
    "pool,kind",
    {}};
inline constexpr MetricSpec kStrippedFields{
    "baton_stripped_request_fields_total",
    MetricType::kCounter,
    "Routing header fields set by clients, which never reach a pod.",
    "",
    {}};
inline constexpr MetricSpec kUnrouted{
    "baton_unrouted_requests_total",
    MetricType::kCounter,
    "Requests that no pool was asked for: unknown path, method or model, malformed body.",
    "",
    {}};

// Every row, for docs/metrics.md.
inline constexpr MetricSpec kAll[] = {
    kRequests,       kOpenRequests,  kWaiting,        kSloMisses, kTtft,           kTpot,
    kPlanSeconds,    kLegSeconds,    kLegFailures,    kRetries,   kRetriesRefused, kReleases,
    kHandoffsAbsent, kHandoffBytes,  kHandoffSeconds, kLookups,   kPromptTokens,   kCachedTokens,
    kPredictorError, kPredictorSeen, kStrippedFields, kUnrouted};
}  // namespace lifecycle_metrics

// The rows of one pool, looked up once. Owned by an io thread; the instruments are shared by all.
struct PoolMetrics {
  PoolMetrics(Metrics& metrics, const std::string& pool);

  prometheus::Counter& requests(Outcome outcome) {
    return *requests_[static_cast<std::size_t>(outcome)];
  }
  // `transport` comes from a pod: anything but a known name is counted as "other".
  prometheus::Counter& handoff_bytes(std::string_view transport);

  prometheus::Gauge& open_requests;
  prometheus::Gauge& waiting;
  prometheus::Counter& ttft_misses;
  prometheus::Counter& tpot_misses;
  prometheus::Histogram& ttft_split;
  prometheus::Histogram& ttft_decode_only;
  prometheus::Histogram& tpot;
  prometheus::Histogram& plan_seconds;
  prometheus::Histogram& prefill_seconds;
  prometheus::Histogram& decode_seconds;
  prometheus::Counter& prefill_failures;
  prometheus::Counter& handoff_failures;
  prometheus::Counter& decode_failures;
  prometheus::Counter& retries;
  prometheus::Counter& retries_refused;
  prometheus::Counter& releases_ok;
  prometheus::Counter& releases_failed;
  prometheus::Counter& handoffs_absent;
  prometheus::Histogram& handoff_seconds;
  prometheus::Counter& lookups_ok;
  prometheus::Counter& lookups_failed;
  prometheus::Counter& lookups_skipped;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& cached_tokens;
  prometheus::Gauge& prefill_error;
  prometheus::Gauge& step_error;
  prometheus::Gauge& transfer_error;
  prometheus::Counter& prefills_seen;
  prometheus::Counter& steps_seen;
  prometheus::Counter& transfers_seen;

 private:
  std::array<prometheus::Counter*, kOutcomes> requests_{};
  std::array<prometheus::Counter*, kv::kTransportNames.size() + 1> handoff_bytes_{};
};

}  // namespace baton::orchestrator
