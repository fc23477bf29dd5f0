// What happened when: peaks, the steady part, and the timeline.
#include <algorithm>
#include <cmath>
#include <utility>

#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

std::size_t second_of(Duration when) {
  return static_cast<std::size_t>(std::max(0.0, std::floor(to_seconds(when))));
}

double fullest_second(const std::vector<const RequestRecord*>& completed, Duration first_send) {
  std::vector<double> seconds;
  for (const RequestRecord* record : completed) {
    for_each_arrival(*record, [&](Duration when, double tokens) {
      const std::size_t second = second_of(when - first_send);
      if (second >= seconds.size()) seconds.resize(second + 1);
      seconds[second] += tokens;
    });
  }
  return seconds.empty() ? 0 : std::ranges::max(seconds);
}

// Over half-open spans [send, last token).
std::int64_t most_at_once(const std::vector<const RequestRecord*>& completed) {
  std::vector<std::pair<Duration, int>> changes;
  for (const RequestRecord* record : completed) {
    changes.emplace_back(record->sent, 1);
    changes.emplace_back(record->last_token, -1);
  }
  std::ranges::sort(changes);  // at the same time, leaving comes before coming
  std::int64_t now = 0;
  std::int64_t most = 0;
  for (const auto& [when, change] : changes) {
    now += change;
    most = std::max(most, now);
  }
  return most;
}

// The window, closed: without a given end it ends with the last schedule, after which the load
// drains; where everything was due at once, with the last answer.
Window closed(const Window& window, const std::vector<RequestRecord>& records) {
  Duration last_schedule{};
  Duration last_end{};
  for (const RequestRecord& record : records) {
    last_schedule = std::max(last_schedule, due_at(record));
    last_end = std::max(last_end, end_of(record));
  }
  if (window.to != Duration::max()) return {window.from, std::min(window.to, last_end)};
  return {window.from, last_schedule > window.from ? last_schedule : last_end};
}

struct SecondCounts {
  std::int64_t offered = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  double running = 0;  // mean over the second
  double output_tokens = 0;
  std::vector<double> ttft_ms;  // of requests that were due in this second
};

void add_running(std::vector<SecondCounts>& seconds, const RequestRecord& record) {
  const double from = to_seconds(record.sent);
  const double to = to_seconds(end_of(record));
  const std::size_t last = second_of(end_of(record));
  for (std::size_t i = second_of(record.sent); i <= last; ++i) {
    const auto begin = static_cast<double>(i);
    seconds[i].running += std::max(0.0, std::min(to, begin + 1) - std::max(from, begin));
  }
}

void add_to(std::vector<SecondCounts>& seconds, const RequestRecord& record) {
  SecondCounts& due = seconds[second_of(due_at(record))];
  SecondCounts& end = seconds[second_of(end_of(record))];
  ++due.offered;
  if (record.completed()) ++end.completed;
  if (is_failure(record.outcome)) ++end.failed;
  if (const auto ttft = ttft_ms(record); ttft && record.completed()) due.ttft_ms.push_back(*ttft);
  if (record.sent >= Duration::zero()) add_running(seconds, record);
  for_each_arrival(record, [&](Duration when, double tokens) {
    seconds[std::min(second_of(when), seconds.size() - 1)].output_tokens += tokens;
  });
}

}  // namespace

Peaks peaks_of(const Measured& measured) {
  std::vector<const RequestRecord*> completed;
  Duration first_send = Duration::max();
  for (const RequestRecord* record : measured.requests) {
    if (!record->completed()) continue;
    completed.push_back(record);
    first_send = std::min(first_send, record->sent);
  }
  return {fullest_second(completed, first_send), most_at_once(completed)};
}

Json steady_json(const std::vector<RequestRecord>& records, const Window& window) {
  const Window steady = closed(window, records);
  const double seconds = to_seconds(steady.to - steady.from);
  const auto inside = [&](Duration when) { return when >= steady.from && when < steady.to; };
  double requests = 0;
  double output_tokens = 0;
  for (const RequestRecord& record : records) {
    if (record.completed() && inside(end_of(record))) ++requests;
    for_each_arrival(record, [&](Duration when, double tokens) {
      if (inside(when)) output_tokens += tokens;
    });
  }
  return {{"from_s", to_seconds(steady.from)},
          {"to_s", to_seconds(steady.to)},
          {"request_throughput", seconds > 0 ? requests / seconds : 0},
          {"output_throughput", seconds > 0 ? output_tokens / seconds : 0}};
}

Json timeline_json(const std::vector<RequestRecord>& records) {
  Json timeline = Json::array();
  if (records.empty()) return timeline;
  Duration last_end{};
  for (const RequestRecord& record : records) last_end = std::max(last_end, end_of(record));
  std::vector<SecondCounts> seconds(second_of(last_end) + 1);
  for (const RequestRecord& record : records) add_to(seconds, record);
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    SecondCounts& second = seconds[i];
    const Json ttft =
        second.ttft_ms.empty() ? Json() : Json(Sample(std::move(second.ttft_ms)).median());
    timeline.push_back({{"second", i},
                        {"offered", second.offered},
                        {"completed", second.completed},
                        {"failed", second.failed},
                        {"running", second.running},
                        {"output_tokens", second.output_tokens},
                        {"median_ttft_ms", ttft}});
  }
  return timeline;
}

}  // namespace baton::orchestrator::bench
