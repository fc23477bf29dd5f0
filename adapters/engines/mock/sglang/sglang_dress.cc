#include "adapters/engines/mock/sglang/sglang_dress.h"

namespace baton::adapters::mock::sglang {

SglangDress::SglangDress(PodParts& parts)
    : parts_(parts), metrics_(parts), rooms_(parts, metrics_) {
  form_.cache_report = parts.options.prompt_tokens_details;
}

http::Task<Answer> SglangDress::side_channel(const http::Request& request) {
  if (parts_.options.role != Role::kPrefill) {
    co_return Answer{404, R"({"message":"no bootstrap server: it is no prefill server"})"};
  }
  co_return co_await rooms_.serve(request);
}

Answer SglangDress::unavailable() const {
  return error_answer(503, "503", parts_.dead ? "The engine is dead." : "The server is starting.");
}

std::optional<Failure> SglangDress::begin(const std::shared_ptr<Work>& work) {
  works_.insert(work.get());
  if (work->wanted.leg == Leg::kPrefill) {
    work->held = true;
    work->on_finished = [this, raw = work.get()](std::size_t choice) {
      if (!raw->left && !raw->failure) rooms_.computed(*raw, choice);
    };
    return rooms_.expect(work);
  }
  if (work->wanted.leg == Leg::kDecode) {
    rooms_.accept(work);
    work->wants_kv = [this, weak = std::weak_ptr(work)](std::size_t choice) {
      if (const auto alive = weak.lock()) rooms_.fetch(alive, choice);
    };
  }
  return std::nullopt;
}

// disaggregation/prefill.py:373, _process_req: whatever was asked, one token is made.
void SglangDress::tune(const Work& work, std::size_t, engine_model::SequenceSpec& spec) {
  if (work.wanted.leg == Leg::kPrefill) {
    spec.max_tokens = 1;
    spec.min_tokens = 0;
    spec.keep_blocks = true;
  }
  spec.wait_for_kv = work.wanted.leg == Leg::kDecode;
}

// disaggregation/prefill.py:868: a prefill request is answered once its KV has gone.
http::Task<void> SglangDress::before_answer(const std::shared_ptr<Work>& work) {
  if (work->wanted.leg == Leg::kPrefill) co_await Rooms::delivered(&rooms_, work);
}

void SglangDress::ended(Work& work) {
  works_.erase(&work);
  rooms_.ended(work);
  metrics_.finished(work);
}

}  // namespace baton::adapters::mock::sglang
