#include "orchestrator/lifecycle/lifecycle_metrics.h"

#include <algorithm>

namespace baton::orchestrator {
namespace {

namespace rows = lifecycle_metrics;

// The last one stands for what this router does not know.
constexpr auto kTransports = [] {
  std::array<std::string_view, kv::kTransportNames.size() + 1> names;
  std::ranges::copy(kv::kTransportNames, names.begin());
  names.back() = "other";
  return names;
}();

}  // namespace

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk: return "ok";
    case Outcome::kClientError: return "client_error";
    case Outcome::kRefused: return "refused";
    case Outcome::kUnavailable: return "unavailable";
    case Outcome::kCutShort: return "cut_short";
    case Outcome::kClientLeft: return "client_left";
  }
  return "ok";
}

PoolMetrics::PoolMetrics(Metrics& metrics, const std::string& pool)
    : open_requests(metrics.gauge(rows::kOpenRequests, {pool})),
      waiting(metrics.gauge(rows::kWaiting, {pool})),
      ttft_misses(metrics.counter(rows::kSloMisses, {pool, "ttft"})),
      tpot_misses(metrics.counter(rows::kSloMisses, {pool, "tpot"})),
      ttft_split(metrics.histogram(rows::kTtft, {pool, "split"})),
      ttft_decode_only(metrics.histogram(rows::kTtft, {pool, "decode_only"})),
      tpot(metrics.histogram(rows::kTpot, {pool})),
      plan_seconds(metrics.histogram(rows::kPlanSeconds, {pool})),
      prefill_seconds(metrics.histogram(rows::kLegSeconds, {pool, "prefill"})),
      decode_seconds(metrics.histogram(rows::kLegSeconds, {pool, "decode"})),
      prefill_failures(metrics.counter(rows::kLegFailures, {pool, "prefill"})),
      handoff_failures(metrics.counter(rows::kLegFailures, {pool, "handoff"})),
      decode_failures(metrics.counter(rows::kLegFailures, {pool, "decode"})),
      retries(metrics.counter(rows::kRetries, {pool})),
      retries_refused(metrics.counter(rows::kRetriesRefused, {pool})),
      releases_ok(metrics.counter(rows::kReleases, {pool, "ok"})),
      releases_failed(metrics.counter(rows::kReleases, {pool, "failed"})),
      handoffs_absent(metrics.counter(rows::kHandoffsAbsent, {pool})),
      handoff_seconds(metrics.histogram(rows::kHandoffSeconds, {pool})),
      lookups_ok(metrics.counter(rows::kLookups, {pool, "ok"})),
      lookups_failed(metrics.counter(rows::kLookups, {pool, "failed"})),
      lookups_skipped(metrics.counter(rows::kLookups, {pool, "skipped"})),
      prompt_tokens(metrics.counter(rows::kPromptTokens, {pool})),
      cached_tokens(metrics.counter(rows::kCachedTokens, {pool})),
      prefill_error(metrics.gauge(rows::kPredictorError, {pool, "prefill"})),
      step_error(metrics.gauge(rows::kPredictorError, {pool, "step"})),
      transfer_error(metrics.gauge(rows::kPredictorError, {pool, "transfer"})),
      prefills_seen(metrics.counter(rows::kPredictorSeen, {pool, "prefill"})),
      steps_seen(metrics.counter(rows::kPredictorSeen, {pool, "step"})),
      transfers_seen(metrics.counter(rows::kPredictorSeen, {pool, "transfer"})) {
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    const auto outcome = static_cast<Outcome>(i);
    requests_[i] = &metrics.counter(rows::kRequests, {pool, std::string(name_of(outcome))});
  }
  for (std::size_t i = 0; i < kTransports.size(); ++i) {
    handoff_bytes_[i] = &metrics.counter(rows::kHandoffBytes, {pool, std::string(kTransports[i])});
  }
}

prometheus::Counter& PoolMetrics::handoff_bytes(std::string_view transport) {
  std::size_t at = 0;
  while (at + 1 < kTransports.size() && kTransports[at] != transport) ++at;
  return *handoff_bytes_[at];
}

}  // namespace baton::orchestrator
