#include "adapters/engines/mock/vllm/vllm_dress.h"

#include <utility>

#include "adapters/engines/mock/vllm/field_types.h"

namespace baton::adapters::mock::vllm {

VllmDress::VllmDress(PodParts& parts)
    : parts_(parts), metrics_(parts), handoff_(make_handoff(parts, metrics_)) {
  form_.prompt_tokens_details = parts.options.prompt_tokens_details;
}

http::Task<Answer> VllmDress::side_channel(const http::Request& request) {
  co_return co_await handoff_->serve(request);
}

// An engine that is dead answers with its own error (v1/engine/exceptions.py).
Answer VllmDress::unavailable() const {
  if (!parts_.dead) return error_answer(503, "Service Unavailable", "The server is starting.");
  return error_answer(500, "InternalServerError",
                      "EngineCore encountered an issue. See stack trace (above) for the root "
                      "cause.");
}

std::optional<Failure> VllmDress::begin(const std::shared_ptr<Work>& work) {
  if (work->wanted.leg == Leg::kPlain) return std::nullopt;
  if (!handoff_->accept(work)) {
    parts_.die();
    return internal_failure();
  }
  if (work->wanted.leg == Leg::kPrefill) {
    work->on_finished = [this, raw = work.get()](std::size_t choice) {
      if (!raw->left && !raw->failure) handoff_->keep(*raw, choice);
    };
    return std::nullopt;
  }
  // What is fetched counts as cached, unless the prefill engine told what it had found itself
  // (v1/engine/output_processor.py:741).
  const Json& params = work->wanted.body["kv_transfer_params"];
  if (const Json* told = member(params, "remote_prefill_cached_tokens")) {
    if (told->is_number_integer()) work->told_cached = told->get<int>();
  }
  work->wants_kv = [this, weak = std::weak_ptr(work)](std::size_t choice) {
    if (const auto alive = weak.lock()) handoff_->fetch(alive, choice);
  };
  return std::nullopt;
}

void VllmDress::tune(const Work& work, std::size_t, engine_model::SequenceSpec& spec) {
  spec.keep_blocks = work.wanted.leg == Leg::kPrefill;
  spec.wait_for_kv = work.wanted.leg == Leg::kDecode;
  spec.fetch_outlives_abort = handoff_->fetch_outlives_request();
}

void VllmDress::ended(Work& work) {
  handoff_->ended(work);
  metrics_.finished(work);
}

Json VllmDress::handoffs() const { return handoff_->state(); }

Answer VllmDress::whole(const Work& work) { return {200, dump(form_.whole(work))}; }

std::string VllmDress::event(const Work& work, const Piece& piece) {
  return form_.event(work, piece);
}

std::string VllmDress::failure_events(const Failure& failure) {
  return "data: " + failure.body + "\n\ndata: [DONE]\n\n";
}

Failure VllmDress::internal_failure() const {
  return {500, error_answer(500, "InternalServerError", "Internal server error").body};
}

}  // namespace baton::adapters::mock::vllm
