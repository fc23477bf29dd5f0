#include "orchestrator/simulate/sim_request.h"

namespace baton::orchestrator::simulate {

LatencyPrior prior_of(double factor) {
  LatencyPrior prior;
  prior.prefill_seconds *= factor;
  prior.prefill_seconds_per_token *= factor;
  prior.prefill_seconds_per_pair *= factor;
  prior.step_seconds *= factor;
  prior.step_seconds_per_sequence *= factor;
  prior.step_seconds_per_kv_token *= factor;
  prior.transfer_seconds *= factor;
  prior.transfer_bytes_per_second /= factor;
  return prior;
}

void Request::note_prefill(const engine_model::EngineEvent& event, TimePoint now) {
  bench::StageTimes& stages = record.stages.emplace();
  stages.prefill_queue_ms = to_ms(event.scheduled_at - sent_at);
  stages.prefill_ms = to_ms(now - event.scheduled_at);
  stages.retries = attempt;
  if (plan.prefill != nullptr) stages.prefill_pod = plan.prefill->pod.name;
}

void Request::tell_prefill(std::uint32_t pod, Tokens cached, TimePoint now) {
  replica->planner.confirm(plan, wanted, now);
  const PromptWork work = PromptWork::of(cached, wanted.prompt - cached);
  const bool is_resident = plan.adapter == LoraResidency::kResident;
  if (!is_resident && is_alone) {
    replica->model.observe(LatencyModel::AdapterSeen{
        pod, plan.adapter, cached, wanted.prompt - cached, to_seconds(now - sent_at)});
  }
  const auto busy = replica->loads.of(pod).prefills.done({sent_at, now, work, is_resident});
  if (!busy) return;
  replica->model.observe(LatencyModel::PrefillSeen{
      pod, busy->work.prompts, busy->work.uncached_tokens, busy->work.pairs, busy->seconds});
}

void Request::tell_pace(TimePoint now) {
  const std::uint32_t pod = plan.decode->index;
  const auto pace = pace_of(replica->model, pod, stream_began,
                            StreamMark::of(replica->loads.of(pod), now), record.output_tokens);
  if (pace) replica->model.observe(*pace);
}

}  // namespace baton::orchestrator::simulate
