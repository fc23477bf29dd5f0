#include "orchestrator/planning/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "core/picking/cost_terms.h"

namespace baton::orchestrator {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double over(const std::optional<Duration>& slo, double seconds) {
  return slo ? std::max(0.0, seconds - to_seconds(*slo)) : 0.0;
}

double whole(const std::atomic<int>& count) {
  return std::max(0, count.load(std::memory_order_relaxed));
}

// Until the first token would come in time for a request that came then.
double until_ttft(double over_seconds, double waiting_seconds) {
  return over_seconds <= waiting_seconds ? over_seconds : kNever;
}

std::string in_words(const char* what, double seconds, const std::optional<Duration>& slo,
                     const char* header) {
  return fmt::format("{} of {:.1f} ms where {:g} ms are asked for ({} or the pool's slo)", what,
                     seconds * 1e3, to_ms(*slo), header);
}

}  // namespace

DecodeBatch batch_later(const PodLoad& load, double seconds, double stream_seconds) {
  const double all = whole(load.running_decodes);
  if (all <= 0) return {};
  const double coming = std::min(whole(load.coming_decodes), all);
  const double lives = std::max(stream_seconds, 1e-6);
  const double passed = std::max(seconds, 0.0) / lives;
  const double left = (all - coming) * std::max(0.0, 1 - passed);
  const double came = coming * std::min(1.0, 1 / std::max(passed, 1e-9));
  // Reserved for all of them alike: prompts, and answers at their full length.
  const auto kv = static_cast<double>(load.reserved_kv_tokens.load(std::memory_order_relaxed));
  return {left + came, std::max(0.0, kv) * (left + came) / all};
}

SloVerdict judge(const PlanRequest& request, const PredictedStart& start, const PodLoad& decode,
                 const LatencyModel& model, TimePoint now) {
  const auto prompt = static_cast<double>(request.prompt.count());
  const auto output =
      static_cast<double>(std::max<std::int64_t>(request.expected_output.count(), 1));
  const double stream_seconds = pace_seconds(start.first_step_seconds, decode, now) * output;
  const double computed_in = start.ttft_seconds - start.first_step_seconds;
  const DecodeBatch then = batch_later(decode, computed_in, stream_seconds);
  const auto pace = [&](const DecodeBatch& others) {
    return pace_seconds(
        model.step_seconds(start.decode_pod, others.streams + 1, others.kv_tokens + prompt), decode,
        now);
  };
  SloVerdict verdict;
  verdict.ttft_seconds = start.ttft_seconds + to_seconds(request.waited);
  verdict.tpot_seconds = pace(then);
  verdict.ttft_over_seconds = over(request.slo.ttft, verdict.ttft_seconds);
  if (output > 1) verdict.tpot_over_seconds = over(request.slo.tpot, verdict.tpot_seconds);
  if (verdict.ttft_over_seconds > 0) {
    verdict.retry_seconds =
        until_ttft(over(request.slo.ttft, start.ttft_seconds), start.waiting_seconds);
  }
  if (verdict.tpot_over_seconds > 0) {
    // Streams end evenly, and each makes the step shorter by as much.
    const double of_others = verdict.tpot_seconds - pace({});
    const double share = verdict.tpot_over_seconds / std::max(of_others, 1e-12);
    verdict.retry_seconds =
        std::max(verdict.retry_seconds, share <= 1 ? share * stream_seconds : kNever);
  }
  verdict.is_refused = verdict.misses() && request.slo.admission == Admission::kRefuse;
  return verdict;
}

int retry_after_seconds(const SloVerdict& verdict) {
  constexpr double kLeast = 1;
  constexpr double kMost = 60;
  return static_cast<int>(std::clamp(std::ceil(verdict.retry_seconds), kLeast, kMost));
}

Error refusal(const SloConfig& slo, const SloVerdict& verdict) {
  std::string misses;
  if (verdict.ttft_over_seconds > 0) {
    misses = in_words("a TTFT", verdict.ttft_seconds, slo.ttft, "x-slo-ttft-ms");
  }
  if (verdict.tpot_over_seconds > 0) {
    if (!misses.empty()) misses += " and ";
    misses += in_words("a TPOT", verdict.tpot_seconds, slo.tpot, "x-slo-tpot-ms");
  }
  return {ErrorCode::kRateLimited, Stage::kRouter,
          fmt::format("The request is refused since its SLO would be missed: predicted is {}. Try "
                      "again in {} s, or ask for less.",
                      misses, retry_after_seconds(verdict)),
          false};
}

}  // namespace baton::orchestrator
