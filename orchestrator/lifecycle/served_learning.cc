// The learning half of ServedRequest: what its legs show of the pods' times.
#include <algorithm>

#include "orchestrator/lifecycle/served_request.h"

namespace baton::orchestrator {

void ServedRequest::on_first_event() {
  const TimePoint now = Clock::now();
  account_.decode.prefill_done();
  if (plan_.kind == PlanKind::kDecodeOnly) learn_prefill(*decode_, now, std::nullopt);
  stream_began_ = StreamMark::of(context_.loads().of(plan_.decode->index), now);
}

// Where the engine does not tell, the plan's own figures stand in.
void ServedRequest::learn_prefill(const Leg& leg, TimePoint done_at,
                                  const std::optional<Usage>& usage) {
  const bool split = plan_.kind == PlanKind::kSplit;
  const Tokens planned = split ? plan_.prefill_cached : plan_.decode_cached;
  const Tokens prompt = usage && usage->prompt.count() > 0 ? usage->prompt : plan_.prompt;
  const Tokens told = usage && usage->tells_cached ? usage->cached : planned;
  const Tokens cached = std::clamp(told, Tokens(0), std::max(prompt - Tokens(1), Tokens(0)));
  const std::uint32_t pod = leg.pod->index;
  const bool is_resident = plan_.adapter == LoraResidency::kResident;
  if (!is_resident && leg.is_alone && !request_.prompt_is_batch) {
    pool_.latency.observe(LatencyModel::AdapterSeen{pod, plan_.adapter, cached, prompt - cached,
                                                    to_seconds(done_at - leg.sent_at)});
  }
  const auto busy = context_.loads().of(pod).prefills.done(
      {leg.sent_at, done_at, PromptWork::of(cached, prompt - cached),
       is_resident && !leg.behind_others && !request_.prompt_is_batch});
  if (!busy) return;
  const PromptWork& work = busy->work;
  if (pool_.latency.observe(LatencyModel::PrefillSeen{pod, work.prompts, work.uncached_tokens,
                                                      work.pairs, busy->seconds})) {
    pool_.metrics.prefills_seen.Increment();
    pool_.metrics.prefill_error.Set(pool_.latency.error().prefill);
  }
}

void ServedRequest::learn_pace(std::int64_t tokens) {
  if (!stream_began_ || !stream_ended_ || request_.n > 1 || request_.prompt_is_batch) return;
  const auto pace =
      pace_of(pool_.latency, plan_.decode->index, *stream_began_, *stream_ended_, tokens);
  if (pace && pool_.latency.observe(*pace)) {
    pool_.metrics.steps_seen.Increment();
    pool_.metrics.step_error.Set(pool_.latency.error().step);
  }
}

// The pod tells what prefill did not hide. The whole movement took that at least, and at most the
// prefill leg's time more; a prediction within those bounds is neither confirmed nor refuted.
void ServedRequest::learn_transfer(double bytes, double exposed_seconds) {
  const std::uint32_t from = plan_.prefill->index;
  const std::uint32_t to = plan_.decode->index;
  const Bytes moved(static_cast<std::int64_t>(std::min(bytes, 1e15)));
  const bool hides = pool_.connector.dispatch() == adapters::Dispatch::kConcurrent;
  const double hidden = hides ? to_seconds(prefill_->head_at - prefill_->sent_at) : 0.0;
  const double predicted = pool_.latency.transfer_seconds(from, to, moved);
  const double most = exposed_seconds + hidden;
  if (hides && predicted >= exposed_seconds && predicted <= most) return;
  const double seconds = std::clamp(predicted, exposed_seconds, most);
  if (pool_.latency.observe(LatencyModel::TransferSeen{from, to, moved, seconds})) {
    pool_.metrics.transfers_seen.Increment();
    pool_.metrics.transfer_error.Set(pool_.latency.error().transfer);
  }
}

}  // namespace baton::orchestrator
