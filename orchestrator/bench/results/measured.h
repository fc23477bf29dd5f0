#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/units.h"
#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/results/statistics.h"
#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {

// The metrics of one request in ms; nullopt where it has none. An answer that is no stream has an
// E2EL alone.
[[nodiscard]] std::optional<double> ttft_ms(const RequestRecord& record);
[[nodiscard]] std::optional<double> tpot_ms(const RequestRecord& record);
[[nodiscard]] std::optional<double> e2el_ms(const RequestRecord& record);
[[nodiscard]] std::optional<double> ttft_from_schedule_ms(const RequestRecord& record);
[[nodiscard]] std::optional<double> e2el_from_schedule_ms(const RequestRecord& record);

[[nodiscard]] bool in_window(const RequestRecord& record, const Window& window);
// When it was to be sent; of a record without a schedule, when it was sent or ended.
[[nodiscard]] Duration due_at(const RequestRecord& record);
// When the harness was through with it.
[[nodiscard]] Duration end_of(const RequestRecord& record);
[[nodiscard]] bool is_failure(Outcome outcome);  // not completed, left or unfinished
[[nodiscard]] bool is_offered(Outcome outcome);  // completed or a failure

// Calls `visit(when, tokens)` for each event with tokens. `tokens` is output_tokens shared out
// evenly, so that an event of two tokens counts two; before the answer's end is known, 1.
template <class Visit>
void for_each_arrival(const RequestRecord& record, Visit visit) {
  if (!record.streamed) {
    if (record.completed()) visit(record.last_token, static_cast<double>(record.output_tokens));
    return;
  }
  if (record.first_token < Duration::zero()) return;
  const auto events = static_cast<double>(record.gaps_us.size() + 1);
  const double tokens = record.completed() ? record.output_tokens / events : 1;
  Duration when = record.first_token;
  visit(when, tokens);
  for (const std::uint32_t gap : record.gaps_us) {
    when += std::chrono::microseconds(gap);
    visit(when, tokens);
  }
}

// The requests of the window and what is computed of them more than once. Holds pointers into the
// run's records.
struct Measured {
  Measured(const std::vector<RequestRecord>& records, const Window& window);

  std::vector<const RequestRecord*> requests;
  Duration first_schedule{};
  Duration last_end{};
  double duration_s = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  std::int64_t input_tokens = 0;  // of completed requests, as the next
  std::int64_t output_tokens = 0;
  // Of completed requests, in ms.
  Sample ttft;
  Sample tpot;
  Sample itl;
  Sample e2el;
  Sample ttft_from_schedule;
  Sample e2el_from_schedule;

  [[nodiscard]] double per_second(double count) const {
    return duration_s > 0 ? count / duration_s : 0;
  }

 private:
  void add_up();
  void take_samples();
};

}  // namespace baton::orchestrator::bench
