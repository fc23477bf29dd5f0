#include "orchestrator/bench/results/measured.h"

#include <algorithm>
#include <utility>

namespace baton::orchestrator::bench {
namespace {

std::optional<double> span_ms(Duration from, Duration to) {
  if (from < Duration::zero() || to < Duration::zero()) return std::nullopt;
  return to_ms(to - from);
}

Sample sample_of(const std::vector<const RequestRecord*>& requests,
                 std::optional<double> (*metric)(const RequestRecord&)) {
  std::vector<double> values;
  for (const RequestRecord* record : requests) {
    if (!record->completed()) continue;
    if (const auto value = metric(*record)) values.push_back(*value);
  }
  return Sample(std::move(values));
}

Sample gaps_of(const std::vector<const RequestRecord*>& requests) {
  std::vector<double> gaps;
  for (const RequestRecord* record : requests) {
    if (!record->completed() || !record->streamed) continue;
    for (const std::uint32_t gap : record->gaps_us) gaps.push_back(gap / 1e3);
  }
  return Sample(std::move(gaps));
}

}  // namespace

std::optional<double> ttft_ms(const RequestRecord& record) {
  if (!record.streamed) return std::nullopt;
  return span_ms(record.sent, record.first_token);
}

std::optional<double> tpot_ms(const RequestRecord& record) {
  if (!record.streamed || record.output_tokens < 2) return std::nullopt;
  const auto decoding = span_ms(record.first_token, record.last_token);
  if (!decoding) return std::nullopt;
  return *decoding / (record.output_tokens - 1);
}

std::optional<double> e2el_ms(const RequestRecord& record) {
  return span_ms(record.sent, record.last_token);
}

std::optional<double> ttft_from_schedule_ms(const RequestRecord& record) {
  if (!record.streamed) return std::nullopt;
  return span_ms(record.scheduled, record.first_token);
}

std::optional<double> e2el_from_schedule_ms(const RequestRecord& record) {
  return span_ms(record.scheduled, record.last_token);
}

bool in_window(const RequestRecord& record, const Window& window) {
  const Duration due = due_at(record);
  return due >= window.from && due < window.to;
}

Duration due_at(const RequestRecord& record) {
  if (record.scheduled >= Duration::zero()) return record.scheduled;
  return std::max(record.sent >= Duration::zero() ? record.sent : record.ended, Duration::zero());
}

Duration end_of(const RequestRecord& record) {
  return std::max({record.ended, record.last_token, record.sent, record.scheduled});
}

bool is_failure(Outcome outcome) { return outcome != Outcome::kCompleted && is_offered(outcome); }

bool is_offered(Outcome outcome) {
  return outcome != Outcome::kLeft && outcome != Outcome::kUnfinished;
}

Measured::Measured(const std::vector<RequestRecord>& records, const Window& window) {
  for (const RequestRecord& record : records) {
    if (in_window(record, window)) requests.push_back(&record);
  }
  add_up();
  take_samples();
}

void Measured::add_up() {
  if (requests.empty()) return;
  first_schedule = due_at(*requests.front());
  for (const RequestRecord* record : requests) {
    first_schedule = std::min(first_schedule, due_at(*record));
    last_end = std::max(last_end, end_of(*record));
    if (is_failure(record->outcome)) ++failed;
    if (!record->completed()) continue;
    ++completed;
    input_tokens += record->prompt_tokens;
    output_tokens += record->output_tokens;
  }
  duration_s = to_seconds(last_end - first_schedule);
}

void Measured::take_samples() {
  ttft = sample_of(requests, ttft_ms);
  tpot = sample_of(requests, tpot_ms);
  e2el = sample_of(requests, e2el_ms);
  ttft_from_schedule = sample_of(requests, ttft_from_schedule_ms);
  e2el_from_schedule = sample_of(requests, e2el_from_schedule_ms);
  itl = gaps_of(requests);
}

}  // namespace baton::orchestrator::bench
