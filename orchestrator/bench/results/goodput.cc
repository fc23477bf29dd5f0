// Which requests were good, and what the words of a result file mean.
#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

// What a client that was due at its schedule waited for the first token; of an answer that is no
// stream, for all of it.
std::optional<double> wait_for_first(const RequestRecord& record) {
  return record.streamed ? ttft_from_schedule_ms(record) : e2el_from_schedule_ms(record);
}

// Bounds are inclusive. A metric that a request does not have keeps every bound.
bool misses(const std::optional<double>& bound, const std::optional<double>& value) {
  return bound && value && *value > *bound;
}

Json bound_json(const std::optional<double>& bound) { return bound ? Json(*bound) : Json(); }

}  // namespace

Goodput judge(const Measured& measured, const Slo& slo) {
  Goodput goodput;
  for (const RequestRecord* record : measured.requests) {
    if (!is_offered(record->outcome)) continue;
    ++goodput.offered;
    if (!record->completed()) {
      ++goodput.failed;
      continue;
    }
    const bool late_start = misses(slo.ttft_ms, wait_for_first(*record));
    const bool slow = misses(slo.tpot_ms, tpot_ms(*record));
    const bool late_end = misses(slo.e2el_ms, e2el_from_schedule_ms(*record));
    goodput.missed_ttft += late_start ? 1 : 0;
    goodput.missed_tpot += slow ? 1 : 0;
    goodput.missed_e2el += late_end ? 1 : 0;
    if (!late_start && !slow && !late_end) ++goodput.good;
  }
  return goodput;
}

Json slo_json(const Slo& slo) {
  return {{"ttft_ms", bound_json(slo.ttft_ms)},
          {"tpot_ms", bound_json(slo.tpot_ms)},
          {"e2el_ms", bound_json(slo.e2el_ms)}};
}

Json goodput_json(const Goodput& goodput, const Slo& slo, double per_second) {
  const auto good = static_cast<double>(goodput.good);
  const auto offered = static_cast<double>(goodput.offered);
  return {{"slo", slo_json(slo)},
          {"offered", goodput.offered},
          {"good", goodput.good},
          {"share", offered > 0 ? good / offered : 0},
          {"requests_per_s", per_second},
          {"missed",
           {{"ttft", goodput.missed_ttft},
            {"tpot", goodput.missed_tpot},
            {"e2el", goodput.missed_e2el},
            {"failed", goodput.failed}}}};
}

Json definitions_json() {
  return {
      {"ttft",
       "From just before the request was sent to the first event with a non-empty piece of the "
       "answer; an event that only names the role does not count (vLLM counts it). What comes "
       "counts when it reaches this machine, not when the generator reads it."},
      {"tpot",
       "(last token - first token) / (output tokens - 1), of requests of two tokens or more; "
       "output tokens as the server's usage says."},
      {"itl",
       "Gaps between one event with tokens and the next, of all completed requests in one pool; an "
       "event may hold several tokens."},
      {"e2el",
       "From just before the request was sent to its last event with tokens; of an answer that is "
       "no stream, to its end."},
      {"ttft_from_schedule",
       "As ttft, but from the time when the request was due; in a closed loop that is when it was "
       "sent."},
      {"e2el_from_schedule", "As e2el, but from the time when the request was due."},
      {"request_goodput",
       "Offered requests a second that completed and kept every bound of the SLO, TTFT and E2EL "
       "counted from the schedule; a rejected, failed or cut request is offered and not good (vLLM "
       "counts from the send). A request of one token keeps any bound on TPOT; the first token of "
       "an answer that is no stream comes with its end."},
      {"duration",
       "Seconds from the first measured request's schedule to the last measured request's end."},
      {"completed", "Answered 200 with at least one token and a proper end ([DONE] in a stream)."},
      {"failed",
       "Offered and not completed. Requests that the harness left on purpose, or that a stop cut "
       "off, are neither completed nor failed."},
      {"total_output_tokens", "Of completed requests, as total_input_tokens and both throughputs."},
      {"max_output_tokens_per_s",
       "Tokens of completed requests in the fullest second, counted from the first send; an "
       "event's "
       "tokens are its share of the answer's."},
      {"max_concurrent_requests",
       "Most completed requests between send and last token at one time (vLLM up to 0.32 counts "
       "all "
       "that were active in the same second)."},
      {"steady",
       "What arrived between from_s and to_s, whenever its request was sent; requests count where "
       "they completed."},
      {"split",
       "Stages of the TTFT one after another, as the router told: they add up to it. `other` is "
       "the "
       "rest: network, waiting for a step, failed attempts, the generator. What ran beside the "
       "prefill is in concurrent_ms."},
      {"unmeasured",
       "Metrics that no request had; as in vLLM's files their keys hold 0 and mean nothing."},
  };
}

}  // namespace baton::orchestrator::bench
