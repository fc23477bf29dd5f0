#include "adapters/engines/mock/trtllm/trtllm_dress.h"

#include "adapters/engines/mock/openai_fields.h"

namespace baton::adapters::mock::trtllm {
namespace {

// metrics/collector.py.
constexpr double kFirstToken[] = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                  0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                  20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
constexpr double kLatency[] = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                               5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                               60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};

}  // namespace

TrtllmDress::TrtllmDress(PodParts& parts)
    : parts_(parts), contexts_(parts), first_token_(kFirstToken), latency_(kLatency) {}

Answer TrtllmDress::unavailable() const { return error_answer("LLM is unavailable.", 503); }

std::optional<Failure> TrtllmDress::begin(const std::shared_ptr<Work>& work) {
  if (work->wanted.leg == Leg::kPrefill) {
    work->on_finished = [this, raw = work.get()](std::size_t choice) {
      if (!raw->left && !raw->failure) contexts_.keep(*raw, choice);
    };
  }
  if (work->wanted.leg != Leg::kDecode) return std::nullopt;
  const Json& params = work->wanted.body["disaggregated_params"];
  work->record->handoff = params;
  work->handoff = params;
  if (const Json* usage = member(params, "ctx_usage")) {
    const Json* details = member(*usage, "prompt_tokens_details");
    if (details != nullptr) {
      work->told_cached = static_cast<int>(integer_of(*details, "cached_tokens", 0));
    }
  }
  work->wants_kv = [this, weak = std::weak_ptr(work)](std::size_t choice) {
    if (const auto alive = weak.lock()) contexts_.fetch(alive, choice);
  };
  return std::nullopt;
}

// A context request ends with its first token, whatever was asked for.
void TrtllmDress::tune(const Work& work, std::size_t, engine_model::SequenceSpec& spec) {
  if (work.wanted.leg == Leg::kPrefill) {
    spec.max_tokens = 1;
    spec.min_tokens = 0;
    spec.keep_blocks = true;
  }
  spec.wait_for_kv = work.wanted.leg == Leg::kDecode;
}

void TrtllmDress::ended(Work& work) {
  work.failure || work.left ? ++failed_ : ++succeeded_;
  if (!work.first_token_at) return;
  first_token_.observe(to_seconds(*work.first_token_at - work.arrived));
  latency_.observe(to_seconds(work.last_token_at - work.arrived));
}

}  // namespace baton::adapters::mock::trtllm
